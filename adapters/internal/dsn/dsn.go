// Package dsn refuses data source names that a driver accepts although they are
// wrong, or that it explains badly. No error of it repeats a password.
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

// CheckURL refuses a URL whose password contains a character that ends it early,
// as far as that can be seen. Drivers take what follows such a character for the
// host, the database or an option, and repeat it in their errors. The '@' in
// front of the real host then stands where none belongs. CheckURL accepts DSNs
// of any other form.
func CheckURL(name string) error {
	_, rest, ok := strings.Cut(name, "://")
	if !ok || !strings.HasPrefix(name, "postgres") {
		return nil
	}
	if strings.Contains(rest, "#") {
		return Errorf("a '#': in a password write it as %%23")
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return nil
	}
	authority := rest[:end]
	path, query, _ := strings.Cut(rest[end:], "?")
	if strings.Contains(path, "@") {
		return errAt
	}
	for option := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(option, "=")
		own := key == "user" || key == "password"
		if strings.Contains(key, "@") || !own && strings.Contains(value, "@") && !strings.Contains(authority, "@") {
			return errAt
		}
	}
	return nil
}

var errAt = Errorf("an '@' after the host: in a password write '/' as %%2F, '?' as %%3F, and '@' as %%40, as elsewhere after the host")

// ParseError returns the error for a DSN that a driver cannot parse and returned
// err for. Drivers quote the piece that they stumbled over, which a stray '@' or
// space may have made a piece of the password. So ParseError leaves out the
// quotation, and does not wrap err, which may be printed in detail.
func ParseError(err error) error {
	return Errorf("%s", unquote(err.Error()))
}

// spoken matches the beginnings of messages whose first quotation is a word of
// the driver's own, which says what is wrong and does not come from the DSN.
var spoken = regexp.MustCompile(`^(.*wrong value for "\w+": |.*\bmissing "=" after )`)

// unquote leaves out everything from the first quotation mark to the last one,
// and not each quotation by itself: what is quoted may contain such marks.
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
// send what they do not know to the server, which repeats it in its error:
// postgress://user:password@host/db?sslmode=disable is the setting
// "postgress://user:password@host/db?sslmode" to them.
func CheckSettings(names iter.Seq[string]) error {
	for name := range names {
		if !setting.MatchString(name) {
			return Errorf("a name that is not a setting, such as a URL of another scheme")
		}
	}
	return nil
}

// ListPorts returns a URL of several hosts with their ports as an option, which
// is the form that lib/pq takes: postgres://a:1,b:2/db becomes
// postgres://a,b/db?port=1,2. lib/pq would take "a:1" for a host. It returns names
// of any other form as they are.
func ListPorts(name string) string {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok || !strings.HasPrefix(name, "postgres") {
		return name
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	start := strings.LastIndexByte(authority, '@') + 1
	hosts := strings.Split(authority[start:], ",")
	if len(hosts) == 1 || !strings.Contains(authority[start:], ":") || strings.Contains(authority[start:], "[") {
		return name
	}
	ports := make([]string, len(hosts))
	for i, host := range hosts {
		hosts[i], ports[i], _ = strings.Cut(host, ":")
		if ports[i] == "" {
			ports[i] = "5432"
		}
	}
	sign := "?"
	if strings.Contains(tail, "?") {
		sign = "&"
	}
	return scheme + "://" + authority[:start] + strings.Join(hosts, ",") + tail + sign + "port=" + strings.Join(ports, ",")
}
