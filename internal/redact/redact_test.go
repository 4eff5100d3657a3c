package redact

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

const longest = 300

func TestStatementKeepsTheStatementAndNoValue(t *testing.T) {
	for _, test := range []struct{ name, query, want string }{
		{"nothing", "", ""},
		{"names and parameters stay", `SELECT name, "odd name", U&"\0061" FROM t2 WHERE id = $1`, `SELECT name, "odd name", U&"\0061" FROM t2 WHERE id = $1`},
		{"strings", `select 'a''b', E'a\'b', b'01', X'1F', n'x', u&'\0061'`, "select ?, ?, ?, ?, ?, ?"},
		{"numbers", "select 1.5e3, -7, .5, 5., 1e-3, 0x1F, 1_000 from t1", "select ?, -?, ?, ?, ?, ?, ? from t1"},
		{"dollar quotes", "select $$it's$$, $q$x $$ y$q$, $é$x$é$, a$1$b", "select ?, ?, ?, a$1$b"},
		{"dollar quotes after what is no name", "select 1$$s3cret$$, 1e5$$s3cret$$, $1$$s3cret$$", "select ??, ??, $1?"},
		{"a name with dollar signs is no string", "select b$$x, 'y' from z$$", "select b$$x, ? from z$$"},
		{"comments", "select 1 -- 's3cret'\n , 2 /* a /* b */ c */ , 3", "select ? , ? , ?"},
		{"a comment ends with a carriage return", "select a -- it's\r, 's3cret' from t", "select a , ? from t"},
		{"a comment within an operator", "select 1+--s3cret\n2*/*s3cret*/3", "select ?+ ?* ?"},
		{"a string goes on in the next line", "select E'a'\n'b\\' s3cret' from t", "select ? from t"},
		{"after a comment too", "select E'a' -- it's\n \t'b\\' s3cret' from t", "select ? from t"},
		{"but not within the line", "select E'a' 'b' from t", "select ? ? from t"},
		{"and not after a block comment", "select E'a' /*\n*/ 'b' from t", "select ? ? from t"},
		{"a prefix belongs to its string", "select 1e'x', me'x', \"e\"'x'", "select ??, me?, \"e\"?"},

		{"a backslash that escapes nothing is sure", `select 'c:\dir' from t`, "select ? from t"},
		{"one before a quote is not", `select 'c:\', s3cret from t`, "select ?…"},
		{"nor is one in a continuation", "select 'a'\n'b\\', s3cret", "select ?…"},
		{"a string without an end", "insert into t\n\tvalues ('s3cret", "insert into t values (?…"},
		{"an E string without an end", `insert into t values (E's3cret\'`, "insert into t values (?…"},
		{"a dollar quote without an end", "select 1, $a$s3cret$b$", "select ?, ?…"},
		{"a name without an end", `select 1, "s3cret`, "select ?, ?…"},
		{"a comment without an end", "select 'a' /* s3cret /* */", "select ?…"},
		{"what only some versions take for a dollar quote", "select 1_0$$ ' $$ s3cret '", "select ?…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Statement(test.query, longest); got != test.want {
				t.Errorf("%q\n got %q\nwant %q", test.query, got, test.want)
			}
		})
	}
}

func TestALongStatementIsCutOff(t *testing.T) {
	for _, word := range []string{"select ", "sélect ", "€"} {
		if got := Statement(strings.Repeat(word, 1000), longest); len(got) > longest+len(more) || !strings.HasSuffix(got, more) || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
	if got := Statement(strings.Repeat("x", longest), longest); got != strings.Repeat("x", longest) {
		t.Errorf("a statement that just fits becomes %q", got)
	}
}

// check writes a statement and checks what becomes of it.
func check(t *testing.T, g *generator) {
	t.Helper()
	query := g.statement()
	got := Statement(query, 1<<20)
	if strings.Contains(got, secret) || strings.Contains(got, digits) {
		t.Errorf("%q\nbecomes %q", query, got)
	}
	if strings.ContainsAny(got, "\n\r\f\t") {
		t.Errorf("%q\nbecomes several lines: %q", query, got)
	}
	rest := got
	for _, name := range g.names[:g.sure] {
		i := strings.Index(rest, name)
		if i < 0 {
			t.Errorf("%q\nbecomes %q\nwithout %s", query, got, name)
			return
		}
		rest = rest[i+len(name):]
	}
}

// FuzzGenerated redacts statements made from PostgreSQL's grammar of literals,
// names and comments.
func FuzzGenerated(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(choices(seed), seed%2 == 1)
	}
	f.Fuzz(func(t *testing.T, choices []byte, escapes bool) {
		check(t, &generator{choices: choices, escapes: escapes})
	})
}

// FuzzAny redacts anything.
func FuzzAny(f *testing.F) {
	f.Add("select ", "s3cret")
	f.Add("select E'\\'' || $a$x$a$ --", "it's")
	f.Fuzz(func(t *testing.T, before, in string) {
		got := Statement(before, longest)
		if !utf8.ValidString(got) || len(got) > longest+len(more) {
			t.Errorf("%q becomes %q", before, got)
		}
		in = secret + strings.ReplaceAll(strings.ReplaceAll(in, "'", "''"), `\`, `\\`)
		if got := Statement("select '"+in+"' from t", longest); got != "select ? from t" {
			t.Errorf("%q becomes %q", in, got)
		}
	})
}

func choices(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 120)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// The server understands what the generator writes, and returns the values that
// the generator means.
func TestTheServerAcceptsWhatIsGenerated(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), pgserver.ForTest(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	checked := 0
	for _, escapes := range []bool{false, true} {
		setting := map[bool]string{false: "on", true: "off"}[escapes]
		if _, err := conn.Exec(t.Context(), "SET standard_conforming_strings = "+setting+"; SET escape_string_warning = off; SET backslash_quote = on"); err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(1000) {
			g := &generator{choices: choices(seed), escapes: escapes, old: true}
			query := g.statement()
			results, err := conn.PgConn().Exec(t.Context(), query).ReadAll()
			if err != nil {
				t.Fatalf("standard_conforming_strings %s: %q: %v", setting, query, err)
			}
			for i, value := range g.values {
				if got := string(results[0].Rows[0][i]); value != "" && got != value {
					t.Fatalf("standard_conforming_strings %s: %q: column %d is %q, not %q", setting, query, i, got, value)
				} else if value != "" {
					checked++
				}
			}
		}
	}
	if checked < 1000 {
		t.Errorf("only %d values were checked", checked)
	}
}

func BenchmarkStatement(b *testing.B) {
	for _, query := range []struct{ name, text string }{
		{"select", `SELECT id, name FROM people WHERE team = $1 AND note <> 'it''s' LIMIT 10`},
		{"insert", "INSERT INTO t (a, b, c) VALUES " + strings.Repeat("($1, $2, $3), ", 100) + "($4, $5, $6)"},
	} {
		b.Run("query="+query.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Statement(query.text, longest)
			}
		})
	}
}
