// Package redact removes from the text of a statement everything that could be
// a value.
package redact

import (
	"strings"
	"unicode/utf8"
)

// more stands for what Statement has withheld or cut off.
const more = "…"

// Statement returns query with a question mark in place of each literal,
// without comments, on one line, and cut off after longest bytes. It keeps
// keywords, names, quoted names and parameters such as $1.
//
// It follows the lexical rules of PostgreSQL: strings ('…', E'…', B'…', X'…',
// N'…', U&'…' and $tag$…$tag$), also where they continue on the next line,
// numbers, and nested comments. What is sent to a server need not be valid,
// and how the server reads it depends on its version and on
// standard_conforming_strings. So where a literal, a quoted name or a comment
// does not end, or where two servers would disagree about its end, Statement
// withholds everything from its beginning on.
//
// Other databases have other rules: what MySQL reads as a string in double
// quotes is a name here, and stays.
func Statement(query string, longest int) string {
	s := scanner{query: query}
	s.out.Grow(min(len(query), longest) + len(more))
	for s.pos < len(query) && !s.doubtful && s.out.Len() <= longest {
		s.next()
	}
	text := strings.ToValidUTF8(strings.TrimSpace(s.out.String()), "?")
	if len(text) > longest {
		return cut(text, longest) + more
	}
	if s.doubtful || s.pos < len(query) {
		return text + more
	}
	return text
}

// cut returns the first n bytes of text, or a few less so that no character is
// split.
func cut(text string, n int) string {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// A scanner reads a query token by token, as PostgreSQL's scan.l does, and
// writes what is no value.
type scanner struct {
	query    string
	pos      int // where the next token begins
	out      strings.Builder
	doubtful bool // from pos on, it is not clear what is a value
}

// next reads one token.
func (s *scanner) next() {
	rest := s.query[s.pos:]
	switch c := rest[0]; {
	case c == '\'':
		s.plain(rest, 0)
	case c == '"':
		end, closed := quoted(rest, 0, false)
		if !closed {
			s.doubt()
			return
		}
		s.keep(end)
	case c == '$':
		s.dollar(rest)
	case strings.HasPrefix(rest, "--"):
		s.skip(lineComment(rest))
	case strings.HasPrefix(rest, "/*"):
		end, closed := blockComment(rest)
		if s.skip(end); !closed {
			s.doubtful = true
		}
	case isSpace(c):
		s.skip(1)
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		s.number(rest)
	case isNameStart(c):
		s.name(rest)
	default:
		s.keep(1)
	}
}

// keep writes the next n bytes.
func (s *scanner) keep(n int) {
	s.out.WriteString(s.query[s.pos : s.pos+n])
	s.pos += n
}

// hide writes a question mark in place of the next n bytes.
func (s *scanner) hide(n int) {
	s.out.WriteByte('?')
	s.pos += n
}

// skip writes a blank in place of the next n bytes, unless there is one.
func (s *scanner) skip(n int) {
	if text := s.out.String(); text != "" && text[len(text)-1] != ' ' {
		s.out.WriteByte(' ')
	}
	s.pos += n
}

// doubt hides the rest of the query.
func (s *scanner) doubt() {
	s.out.WriteByte('?')
	s.doubtful = true
}

// name reads a name, or the string that it is the prefix of.
func (s *scanner) name(rest string) {
	n := 1
	for n < len(rest) && isNamePart(rest[n]) {
		n++
	}
	switch {
	case n == 1 && len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("eE", rest[0]) >= 0:
		if end, closed := literal(rest, 1, true); closed {
			s.hide(end)
		} else {
			s.doubt()
		}
	case n == 1 && len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("bBxXnN", rest[0]) >= 0:
		s.plain(rest, 1)
	case n == 1 && len(rest) > 2 && rest[1:3] == "&'" && (rest[0] == 'u' || rest[0] == 'U'):
		s.plain(rest, 2)
	default:
		s.keep(n)
	}
}

// plain reads a string whose quote is at at. A backslash in it escapes a quote
// if the server's standard_conforming_strings is off, so the string ends in a
// place that is sure only if it is the same with and without escapes.
func (s *scanner) plain(rest string, at int) {
	end, closed := literal(rest, at, false)
	if other, _ := literal(rest, at, true); closed && other == end {
		s.hide(end)
		return
	}
	s.doubt()
}

// dollar reads a string in dollar quotes, a parameter, or a lone dollar sign.
func (s *scanner) dollar(rest string) {
	if tag := dollarTag(rest); tag != "" {
		if n := strings.Index(rest[len(tag):], tag); n >= 0 {
			s.hide(len(tag) + n + len(tag))
		} else {
			s.doubt()
		}
		return
	}
	n := 1
	for n < len(rest) && isDigit(rest[n]) {
		n++
	}
	s.keep(n)
}

// number reads a number. Up to PostgreSQL 14 letters that follow a number begin
// a name, which may contain dollar signs. Later versions refuse most of them,
// or take them for a part of the number, after which a dollar sign begins a
// string.
func (s *scanner) number(rest string) {
	n := decimal(rest)
	sure := n
	for n < len(rest) && (isNamePart(rest[n]) && rest[n] != '$' || rest[n] == '.') {
		n++
	}
	if n > sure && n < len(rest) && rest[n] == '$' {
		s.doubt()
		return
	}
	s.hide(n)
}

// decimal returns the length of the number without letters, but for those of
// an exponent, that text begins with.
func decimal(text string) int {
	digits := func(n int) int {
		for n < len(text) && isDigit(text[n]) {
			n++
		}
		return n
	}
	n := digits(0)
	if n < len(text) && text[n] == '.' {
		n = digits(n + 1)
	}
	if n < len(text) && (text[n] == 'e' || text[n] == 'E') {
		exponent := n + 1
		if exponent < len(text) && (text[exponent] == '+' || text[exponent] == '-') {
			exponent++
		}
		if end := digits(exponent); end > exponent {
			return end
		}
	}
	return n
}

// literal returns where the string ends whose quote is at at, with all its
// continuations: after a string, white space with a newline in it, and another
// quote, the string goes on. It reports whether the string is closed.
func literal(text string, at int, escapes bool) (end int, closed bool) {
	for {
		end, closed = quoted(text, at, escapes)
		if !closed {
			return end, false
		}
		next, ok := continuation(text, end)
		if !ok {
			return end, true
		}
		at = next
	}
}

// quoted returns where the string or name ends whose quote is at at, and
// whether it is closed. A doubled quote does not end it.
func quoted(text string, at int, escapes bool) (end int, closed bool) {
	quote := text[at]
	for i := at + 1; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1, true
		}
	}
	return len(text), false
}

// continuation returns where the quote is with which a string that ended at end
// goes on, if it does. Comments to the end of a line are white space here,
// others are not.
func continuation(text string, end int) (quote int, ok bool) {
	newline := false
	for i := end; i < len(text); {
		switch c := text[i]; {
		case c == '\'':
			return i, newline
		case c == '\n' || c == '\r':
			newline = true
			i++
		case isSpace(c):
			i++
		case strings.HasPrefix(text[i:], "--"):
			i += lineComment(text[i:])
		default:
			return 0, false
		}
	}
	return 0, false
}

// dollarTag returns the $tag$ that text begins with, or "".
func dollarTag(text string) string {
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			return text[:i+1]
		case !isNamePart(c) || i == 1 && isDigit(c):
			return ""
		}
	}
	return ""
}

// lineComment returns the length of the comment that text begins with, without
// the end of its line.
func lineComment(text string) int {
	if n := strings.IndexAny(text, "\r\n"); n >= 0 {
		return n
	}
	return len(text)
}

// blockComment returns the length of the comment that text begins with, and
// whether it is closed. Comments nest.
func blockComment(text string) (end int, closed bool) {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
	}
	return len(text), false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isSpace reports whether c is white space. PostgreSQL 16 added the vertical
// tab, which older versions refuse.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isNameStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// isNamePart reports whether c can continue a name. A dollar sign can, but not
// within the tag of a string in dollar quotes, whose end it is.
func isNamePart(c byte) bool { return isNameStart(c) || isDigit(c) || c == '$' }
