package poolgatetest

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// controls returns the statements of query, in upper case, if it is one by
// which the code under test itself begins or ends a transaction, or sets a
// savepoint in it. It returns nil for any other.
func controls(query string) [][]string {
	var parts [][]string
	for part := range strings.SplitSeq(query, ";") {
		words := strings.Fields(strings.ToUpper(part))
		if len(words) == 0 {
			continue
		}
		if len(parts) == 0 && !isControl(words) {
			return nil
		}
		parts = append(parts, words)
	}
	return parts
}

func isControl(words []string) bool {
	switch words[0] {
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE":
		return true
	}
	return false
}

// control does on savepoints what parts would do on a connection of its own.
func (c *conn) control(ctx context.Context, parts [][]string) error {
	if !slices.ContainsFunc(parts, func(words []string) bool { return !isControl(words) }) {
		return c.controlEach(ctx, parts)
	}
	return errors.New("poolgatetest: a statement that begins or ends a transaction must not be sent together with others")
}

func (c *conn) controlEach(ctx context.Context, parts [][]string) error {
	if err := c.line.take(ctx); err != nil {
		return err
	}
	defer c.line.give()
	for _, words := range parts {
		if err := c.controlOne(words); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) controlOne(words []string) error {
	to := slices.Index(words, "TO")
	switch words[0] {
	case "BEGIN", "START":
		return c.begin(strings.Contains(strings.Join(words, " "), "READ ONLY"))
	case "COMMIT", "END":
		return c.end(true)
	case "ROLLBACK", "ABORT":
		if to < 0 {
			return c.end(false)
		}
	}
	name := words[len(words)-1]
	switch {
	case c.tx == nil:
		return errors.New("poolgatetest: savepoints can only be used in a transaction")
	case to > 0:
		return c.line.rollbackTo(c.tx, name)
	case c.tx.failed:
		return abortedError{}
	case words[0] == "RELEASE":
		return c.line.unsave(c.tx, name)
	}
	return c.line.save(c.tx, name)
}
