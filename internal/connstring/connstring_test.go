package connstring

import (
	"strings"
	"testing"
)

func TestWithDatabase(t *testing.T) {
	for _, tc := range []struct{ name, dsn, want string }{
		{"a URL", "postgres://u:p@h:1/old?sslmode=disable", "postgres://u:p@h:1/new?sslmode=disable"},
		{"a URL without a database", "postgresql://u@h", "postgresql://u@h/new"},
		{"a URL that names it in the query", "postgres://u@h/?dbname=old&sslmode=disable", "postgres://u@h/new?sslmode=disable"},
		{"a URL with several hosts", "postgres://u@a:1,b:2/old", "postgres://u@a:1,b:2/new"},
		{"a URL with a socket", "postgres:///old?host=/var/run", "postgres:///new?host=%2Fvar%2Frun"},
		{"a URL with a space in a setting", "postgres://u@h/old?options=-c%20a=b", "postgres://u@h/new?options=-c%20a%3Db"},
		{"a list", "host=h dbname=old", "host=h dbname=old dbname='new'"},
		{"an empty string", "", "dbname='new'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := WithDatabase(tc.dsn, "new")
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestWith(t *testing.T) {
	settings := map[string]string{"search_path": "it's here", "application_name": "a"}
	for _, tc := range []struct{ name, dsn, want string }{
		{"a URL", "postgres://u@h/d?search_path=old&sslmode=disable", "postgres://u@h/d?application_name=a&search_path=it%27s%20here&sslmode=disable"},
		{"a list", "host=h", `host=h application_name='a' search_path='it\'s here'`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := With(tc.dsn, settings)
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	const dsn = "postgres://u:secret%zz@h/old"
	_, err := WithDatabase(dsn, "new")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("WithDatabase: %v", err)
	}
	_, err = With(dsn, nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("With: %v", err)
	}
}
