package poolgatetest_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// withUser returns dsn for another user.
func withUser(t testing.TB, dsn, user, password string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		t.Skipf("the DSN is no URL with a host")
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// listDSN returns a URL as a list of key=value.
func listDSN(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		t.Skipf("the DSN is no URL with a host")
	}
	list := fmt.Sprintf("host=%s port=%s dbname=%s user=%s", u.Hostname(), u.Port(), strings.TrimPrefix(u.Path, "/"), u.User.Username())
	if password, ok := u.User.Password(); ok {
		list += " password=" + password
	}
	for name := range u.Query() {
		list += " " + name + "=" + u.Query().Get(name)
	}
	return list
}
