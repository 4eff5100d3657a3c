// Package redact takes out of the text of a statement what could be a value.
package redact

import "strings"

// Statement returns query with every literal as a question mark, without
// comments, in one line, and cut off after longest bytes: fit to be shown to
// whoever looks after a program. It knows PostgreSQL's strings ('…', E'…' and
// $tag$…$tag$), numbers and comments, and keeps names and parameters ($1).
// Where a literal or a comment does not end, nothing after its beginning is
// kept.
func Statement(query string, longest int) string {
	var b strings.Builder
	for i := 0; i < len(query) && b.Len() < longest; {
		rest := query[i:]
		switch c := rest[0]; {
		case c == '\'':
			b.WriteByte('?')
			i += quoted(rest, endsInE(query[:i]))
		case c == '"':
			n := quoted(rest, false)
			b.WriteString(rest[:n])
			i += n
		case c == '$':
			tag := dollarTag(rest)
			if tag == "" || i > 0 && isName(query[i-1]) { // a parameter, or part of a name
				b.WriteByte(c)
				i++
				for i < len(query) && isDigit(query[i]) {
					b.WriteByte(query[i])
					i++
				}
				break
			}
			b.WriteByte('?')
			i += untilAfter(rest, len(tag), tag)
		case strings.HasPrefix(rest, "--"):
			space(&b)
			i += untilAfter(rest, 2, "\n")
		case strings.HasPrefix(rest, "/*"):
			space(&b)
			i += comment(rest)
		case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
			b.WriteByte('?')
			for i < len(query) && (isName(query[i]) || query[i] == '.') {
				i++
			}
		case isName(c):
			for i < len(query) && isName(query[i]) {
				b.WriteByte(query[i])
				i++
			}
		case c <= ' ':
			space(&b)
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	s := b.String()
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return strings.TrimSpace(strings.ToValidUTF8(s, "?"))
}

// space writes a blank, unless there is one.
func space(b *strings.Builder) {
	if s := b.String(); s != "" && s[len(s)-1] != ' ' {
		b.WriteByte(' ')
	}
}

// endsInE tells whether before ends with the E of an E'…' string, in which a
// backslash escapes a quote.
func endsInE(before string) bool {
	n := len(before)
	return n > 0 && (before[n-1] == 'E' || before[n-1] == 'e') && (n == 1 || !isName(before[n-2]))
}

// quoted is the length of the string or name in quotes that s begins with. A
// quote that is doubled does not end it.
func quoted(s string, escapes bool) int {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// dollarTag is the $tag$ that s begins with, or "".
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1]
		case !isName(c) || i == 1 && isDigit(c):
			return ""
		}
	}
	return ""
}

// comment is the length of the comment that s begins with; they nest.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

func untilAfter(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isName(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c >= 0x80
}
