package snippets

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A snippet is a block of Go in a page.
type snippet struct {
	page string // relative to the top of the repository
	line int    // of its first line of code
	code string
	with string // declarations that the page hides from its readers
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.page, s.line) }

// isProgram reports whether the snippet can be run.
func (s snippet) isProgram() bool { return strings.HasPrefix(s.code, "package main\n") }

// hidden matches a comment in front of a block, with declarations that the block
// needs and that would bore the reader.
var hidden = regexp.MustCompile(`(?s)<!-- go:\s*(.*?)-->\s*$`)

// extract returns the snippets of a page.
func extract(page, text string) (all []snippet) {
	const begin, end = "```go\n", "\n```"
	for from := 0; ; {
		at := strings.Index(text[from:], begin)
		if at < 0 {
			return all
		}
		start := from + at + len(begin)
		length := strings.Index(text[start:], end)
		if length < 0 {
			length = len(text) - start
		}
		s := snippet{page: page, line: 1 + strings.Count(text[:start], "\n"), code: text[start:start+length] + "\n"}
		if m := hidden.FindStringSubmatch(text[from : from+at]); m != nil {
			s.with = m[1]
		}
		all = append(all, s)
		from = start + length
	}
}

// source returns a file that contains the snippet, and compiles if it is right
// but for imports and variables that are not used.
func (s snippet) source() string {
	position := fmt.Sprintf("//line %s:%d\n", s.page, s.line)
	if s.isProgram() {
		return position + s.code
	}
	imports, code := s.cutImports()
	head := "package snippet\n" + imports
	var declarations string
	for d := range strings.SplitSeq(s.with, "; ") {
		if strings.HasPrefix(d, "import ") {
			head += d + "\n"
		} else {
			declarations += d + "; "
		}
	}
	head += prelude + strings.TrimSuffix(declarations, "; ") + "\n"
	if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+code, 0); err == nil {
		return head + position + code
	}
	if _, err := parser.ParseExpr(code); err == nil && strings.HasSuffix(strings.TrimSpace(code), "}") {
		return head + "var _ =\n" + position + code
	}
	result, last := "", ""
	if returnsError.MatchString(code) {
		result, last = "error", "return nil\n"
	}
	return head + "func _(" + parameters + ") " + result + " {\n{\n" + position + code + "}\n" + last + "}\n"
}

var returnsError = regexp.MustCompile(`(?m)^\t?return (err|poolgate\.Raw)`)

// cutImports returns the snippet's own imports, and the rest of it.
func (s snippet) cutImports() (imports, code string) {
	for line := range strings.Lines(s.code) {
		if strings.HasPrefix(line, "import ") {
			// The prelude has them, so the compiler has to find them, and that is all.
			imports += strings.Replace(line, "import ", "import _ ", 1)
			line = "\n"
		}
		code += line
	}
	return imports, code
}

// The prelude imports what snippets use, and declares what they take for granted.
const prelude = `
import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"expvar"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/logging"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/promgate"
	"github.com/poolgate/poolgate/tracing"
)

var sqlc struct{ New func(any) any }
`

const parameters = `ctx context.Context, dsn string, db *poolgate.DB, existing *sql.DB, g *gate.Gate, err error,
	conn *sql.Conn, w http.ResponseWriter, r *http.Request, mux *http.ServeMux, handler http.Handler, server *http.Server,
	traces trace.TracerProvider, metrics metric.MeterProvider, logger *slog.Logger, limit int, t *testing.T`

// pages returns the pages of the repository that have snippets.
func pages(t *testing.T) (all []snippet) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	files = append(files, filepath.Join(top, "README.md"), filepath.Join(top, "CONTRIBUTING.md"),
		filepath.Join(top, "examples", "tracing", "README.md"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(top, file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, extract(filepath.ToSlash(page), string(text))...)
	}
	return all
}
