// Package dsn refuses what a driver accepts as a data source name, or explains
// badly, and repeats no password in doing so.
package dsn

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
)

const hint = "want postgres://user:password@host:port/database?option=value, " +
	"the password percent-encoded, or user=… password='…' host=… dbname=…"

// Errorf describes what is wrong with a DSN, and adds what one looks like.
func Errorf(format string, args ...any) error {
	return errors.New("dsn: " + fmt.Sprintf(format, args...) + "; " + hint)
}

// ParseError stands for err, which a driver returned for a DSN that it cannot
// parse. Drivers quote the piece that they stumbled over, which a stray '@' or
// space may have made a piece of the password. So the quotation is left out,
// and err is not wrapped, for whoever prints it in detail.
func ParseError(err error) error {
	return Errorf("%s", unquote(err.Error()))
}

// spoken matches the beginnings of messages whose first quotation is the
// driver's own word, which says what is wrong and comes from no DSN.
var spoken = regexp.MustCompile(`^(.*wrong value for "\w+": |.*\bmissing "=" after )`)

// unquote leaves out all from the first quotation mark to the last one, and
// not each quotation by itself: what is quoted may have such marks in it.
func unquote(message string) string {
	head := spoken.FindString(message)
	tail := message[len(head):]
	first, last := strings.IndexByte(tail, '"'), strings.LastIndexByte(tail, '"')
	if first < last {
		tail = tail[:first] + "…" + tail[last+1:]
	}
	return head + tail
}

// setting is how PostgreSQL writes the names of its settings.
var setting = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// CheckSettings refuses names that cannot be a setting of the server. Drivers
// hand what they do not know to the server, which repeats it in its error:
// postgress://user:password@host/db?sslmode=disable is the setting
// "postgress://user:password@host/db?sslmode" to them.
func CheckSettings(names iter.Seq[string]) error {
	for name := range names {
		if !setting.MatchString(name) {
			return Errorf("a name that is no setting, such as a URL of another scheme")
		}
	}
	return nil
}
