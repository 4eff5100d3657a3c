package redact

import (
	"fmt"
	"strings"
)

// secret is in every string and every comment that a generator writes, and
// digits in every number. Neither is in any name.
const (
	secret = "s3cret"
	digits = "7777"
)

// A generator writes statements by PostgreSQL's lexical grammar. It takes each
// decision from the next of its choices, so that a fuzzer can steer it. It
// knows what the statement returns, which a server can confirm.
type generator struct {
	choices  []byte
	escapes  bool // standard_conforming_strings is off
	old      bool // nothing that only PostgreSQL 16 and later understand
	text     strings.Builder
	names    []string // what must survive
	sure     int      // how many names come before the first string that a server could read in two ways
	doubtful bool
	values   []string // of the columns, in text; "" for what is not checked
}

// choose returns a number below n.
func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) oneOf(texts ...string) string { return texts[g.choose(len(texts))] }

// statement returns SELECT literal AS name, ….
func (g *generator) statement() string {
	g.text.WriteString("SELECT")
	for i := range 1 + g.choose(4) {
		if i > 0 {
			g.text.WriteString(g.space(false) + ",")
		}
		g.text.WriteString(g.space(true))
		literal, value := g.literal()
		g.text.WriteString(literal + g.space(true) + "AS" + g.space(true))
		g.values = append(g.values, value)
		g.text.WriteString(g.name())
	}
	g.text.WriteString(g.space(false))
	return g.text.String()
}

// name returns a name.
func (g *generator) name() string {
	n := len(g.names)
	name := g.oneOf(
		fmt.Sprintf("name%d", n), fmt.Sprintf("Na_me%d$", n), fmt.Sprintf("n$$x$$%d", n), fmt.Sprintf("näme%d", n), fmt.Sprintf("e%d", n),
		fmt.Sprintf(`"a name %d"`, n), fmt.Sprintf(`"it's ""%d"""`, n), fmt.Sprintf(`"-- /* %d \"`, n), fmt.Sprintf(`"$$%d"`, n),
	)
	if !g.escapes { // a server refuses U& otherwise
		name = g.oneOf(name, fmt.Sprintf(`U&"n\0061me %d"`, n))
	}
	g.names = append(g.names, name)
	if !g.doubtful {
		g.sure = len(g.names)
	}
	return name
}

// space returns white space, which may be empty unless something is needed.
func (g *generator) space(needed bool) string {
	var b strings.Builder
	for range g.choose(3) {
		b.WriteString(g.oneOf(" ", "\n", "\t", "\r", "\f",
			"--"+g.oneOf("", "'", `"`, "$$", "/*", "*/")+secret+g.oneOf("\n", "\r", "\r\n"),
			g.block(3)))
	}
	if needed && b.Len() == 0 {
		return " "
	}
	return b.String()
}

// block returns a comment with others in it.
func (g *generator) block(depth int) string {
	inner := secret + g.oneOf("", "'", `"`, "$$", "--", "\n", "*", "/ ", "**", "\r")
	if depth > 0 && g.choose(2) == 1 {
		inner = g.oneOf("", "/ ", "* ") + g.block(depth-1) + inner
	}
	return "/*" + g.oneOf("", " ", "* ", "/ ", "\n") + inner + g.oneOf("", "*", "**") + "*/"
}

// horizontal returns white space within a line, as between a string and its
// continuation, of which a comment can be a part if a newline follows.
func (g *generator) horizontal() string { return g.oneOf("", " ", "\t", " \f") }

// continuation returns what can stand between two parts of a string.
func (g *generator) continuation() string {
	var b strings.Builder
	b.WriteString(g.horizontal() + g.oneOf("", "--"+g.oneOf("", "'")+secret) + g.oneOf("\n", "\r"))
	for range g.choose(3) {
		b.WriteString(g.oneOf(" ", "\n", "\r\n", "\t", "-- "+g.oneOf("'", "")+secret+"\n"))
	}
	return b.String()
}

// literal returns a literal and its value.
func (g *generator) literal() (text, value string) {
	switch g.choose(8) {
	case 0:
		text, value = g.strings("", g.escapes)
		g.doubtful = g.doubtful || strings.Contains(text, `\`)
	case 1:
		text, value = g.strings(g.oneOf("E", "e"), true)
	case 2:
		text, value = g.strings(g.oneOf("N", "n"), g.escapes)
		g.doubtful = g.doubtful || strings.Contains(text, `\`)
	case 3:
		if g.escapes {
			return g.dollars()
		}
		text, value = g.unicode()
		g.doubtful = g.doubtful || strings.Contains(text, `\`)
	case 4:
		return g.dollars()
	case 5:
		text = g.oneOf("B", "b") + "'" + strings.Repeat("1", 20)
		value = strings.Repeat("1", 20)
		if g.choose(2) == 1 {
			text += "'" + g.continuation() + "'0"
			value += "0"
		}
		return text + "'", value
	case 6:
		return g.oneOf("X", "x") + "'" + digits + "AF'", ""
	default:
		number := g.oneOf(digits, "."+digits, digits+".", digits+".5", digits+"e1", digits+".5E-1", "-"+digits+"e+1")
		if !g.old {
			number = g.oneOf(number, "0x"+digits, "0o"+digits, digits+"_"+digits, digits+"_0."+digits)
		}
		return number, ""
	}
	return text, value
}

// strings returns a string in single quotes, perhaps in several parts.
func (g *generator) strings(prefix string, escapes bool) (text, value string) {
	text = prefix
	for i := range 1 + g.choose(3) {
		if i > 0 {
			text += g.continuation()
		}
		body, v := secret, secret
		for range g.choose(4) {
			t := g.oneOf("a", " ", "''", `"`, "--", "/*", "*/", "$$", "$1", ";", "\n", `\`, `\`, "ä")
			switch {
			case t == `\` && escapes:
				t = g.oneOf(`\\`, `\'`, `\n`, `\"`)
				v += map[string]string{`\\`: `\`, `\'`: `'`, `\n`: "\n", `\"`: `"`}[t]
			case t == "''":
				v += "'"
			default:
				v += t
			}
			body += t
		}
		if g.choose(2) == 1 { // what comes last may be what decides where the string ends
			body, v = body+" "+secret, v+" "+secret
		}
		text += "'" + body + "'"
		value += v
	}
	return text, value
}

// unicode returns a string with Unicode escapes.
func (g *generator) unicode() (text, value string) {
	text = g.oneOf("U&'", "u&'") + secret + g.oneOf("", `\0061`, "''", `\\`, `\+000061`) + secret + "'"
	if g.choose(2) == 1 {
		text += g.continuation() + "'" + secret + "'"
	}
	return text, ""
}

// dollars returns a string in dollar quotes.
func (g *generator) dollars() (text, value string) {
	tag := g.oneOf("$$", "$tag$", "$ä_1$", "$E$")
	value = secret
	for range g.choose(4) {
		value += g.oneOf("'", `"`, `\`, "$1", "$ tag$", "$x$", "--", "/*", "\n", "''", "$Tag$")
	}
	value += secret
	if tag == "$$" {
		value = strings.ReplaceAll(value, "$$", "$ $")
	}
	return tag + value + tag, value
}
