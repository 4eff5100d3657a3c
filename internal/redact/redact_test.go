package redact

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const longest = 300

func TestStatementKeepsTheStatementAndNoValue(t *testing.T) {
	for query, want := range map[string]string{
		"": "",
		"SELECT name, \"odd name\" FROM t2 WHERE id = $1":  "SELECT name, \"odd name\" FROM t2 WHERE id = $1",
		"select 'a''b', E'a\\'b', 'c\\', 1.5e3, -7, .5":    "select ?, E?, ?, ?, -?, ?",
		"select $$it's$$, $q$x $$ y$q$, a$1$b":             "select ?, ?, a$1$b",
		"select 1 -- 's3cret'\n , 2 /* a /* b */ c */ , 3": "select ? , ? , ?",
		"insert into t\n\tvalues ('s3cret":                 "insert into t values (?",
		"select 'a' /* s3cret":                             "select ?",
	} {
		if got := Statement(query, longest); got != want {
			t.Errorf("%q\n got %q\nwant %q", query, got, want)
		}
	}
}

func TestALongStatementIsCutOff(t *testing.T) {
	if got := Statement(strings.Repeat("select ", 1000), longest); len(got) > longest+len("…") {
		t.Errorf("%d bytes", len(got))
	}
}

func FuzzStatement(f *testing.F) {
	f.Add("select ", "s3cret")
	f.Add("select E'\\'' || $a$x$a$ --", "it's")
	f.Fuzz(func(t *testing.T, before, secret string) {
		got := Statement(before, longest)
		if !utf8.ValidString(got) || len(got) > longest+len("…") {
			t.Errorf("%q becomes %q", before, got)
		}
		// A literal of its own statement never comes out.
		secret = "s3cret" + strings.ReplaceAll(secret, "'", "''")
		if got := Statement("select '"+secret+"' from t", longest); strings.Contains(got, "s3cret") || got != "select ? from t" {
			t.Errorf("%q becomes %q", secret, got)
		}
	})
}
