package tracing_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/internal/testing/traced"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/logging"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/tracing"
)

// TestSecrets puts secrets wherever a program has them, and looks for them
// in everything that is reported.
func TestSecrets(t *testing.T) {
	server := pgserver.ForTest(t)
	if server.External() {
		t.Skip("a server of our own is needed, which takes any password")
	}
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, d := range drivers {
		t.Run(d.Name, func(t *testing.T) {
			database := server.CreateDatabase(t)
			leaks := goleak.IgnoreCurrent()
			for range rounds {
				round(t, d, database, newSecret(random))
			}
			goleak.VerifyNone(t, leaks)
		})
	}
}

// A secret is a core between what a careless program may quote wrongly.
type secret struct{ core, before, after string }

func newSecret(r *rand.Rand) secret {
	odd := []string{"", " ", "'", "''", `\`, `"`, "$$", "--", "/*", "*/", "$1", "%", "é", "\n", ";", "@", ":", "/", "?", "=", "E'", "$q$", "4_2"}
	pick := func() string {
		var b strings.Builder
		for range r.IntN(4) {
			b.WriteString(odd[r.IntN(len(odd))])
		}
		return b.String()
	}
	return secret{fmt.Sprintf("tell%dnobody", r.Uint32()), pick(), pick()}
}

func (s secret) String() string { return s.before + s.core + s.after }

// literals returns the secret as SQL has it.
func (s secret) literals() []string {
	doubled := strings.ReplaceAll(s.String(), "'", "''")
	return []string{
		"'" + doubled + "'",
		"E'" + strings.ReplaceAll(doubled, `\`, `\\`) + "'",
		"$sec$" + s.String() + "$sec$",
		"'' /* " + s.core + " /* nested */ " + s.core + " */",
		"'' -- " + s.core + "\n",
	}
}

// round uses the secret in all ways, and looks for it everywhere.
func round(t *testing.T, d traced.Driver, dsn string, s secret) {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	u.User = url.UserPassword(u.User.Username(), s.String())
	f := newFixture(t, d, u.String(), gate.Config{Limit: 1, Classes: []gate.Class{{Name: "web"}}, LeakAfter: time.Millisecond, StackEvery: 1})
	defer f.Close()
	var safe, unsafe buffer
	f.Observe(logging.New(slog.New(slog.NewJSONHandler(&safe, &slog.HandlerOptions{Level: slog.LevelDebug})), logging.Config{}))
	f.Observe(logging.New(slog.New(slog.NewTextHandler(&unsafe, nil)), logging.Config{Echo: true, Values: true}))

	quoted := 0 // errors that have the secret in them
	saw := func(err error) {
		if err != nil && strings.Contains(err.Error(), s.core) {
			quoted++
		}
	}
	ctx, span := f.Tracer.Start(tracing.Operations(context.Background(), f.Traces), "request")
	for _, literal := range s.literals() {
		_, err := f.ExecContext(ctx, "SELECT "+literal)
		must(t, err)
		_, err = f.ExecContext(ctx, "SELECT "+literal+" || ") // a syntax error after it
		saw(err)
	}
	_, err = f.ExecContext(ctx, "SELECT $1::text", s.String())
	must(t, err)
	_, err = f.ExecContext(ctx, "SELECT $1::text::int", s.String())
	saw(err)
	_, err = f.ExecContext(ctx, "SELECT "+s.literals()[0]+"::int")
	saw(err)
	_, err = f.ExecContext(gate.WithClass(ctx, s.core), "SELECT 1")
	saw(err)
	if rows, err := f.QueryContext(ctx, "SELECT $1::text", s.String()); err == nil {
		rows.Next()
		saw(rows.Scan(new(int)))
		must(t, rows.Close())
	}
	debug := ""
	saw(session.Run(ctx, func(ctx context.Context) error {
		_, err := session.DB(ctx, f.DB.DB).ExecContext(ctx, "SELECT $1::text, "+s.literals()[0], s.String())
		must(t, err)
		debug = f.debugPage()
		time.Sleep(2 * time.Millisecond) // a leak
		return fmt.Errorf("the password %s is wrong", s)
	}))
	if stmt, err := f.PrepareContext(ctx, "SELECT $1::text::int, "+s.literals()[0]); err == nil {
		_, err = stmt.ExecContext(ctx, s.String())
		saw(err)
		must(t, stmt.Close())
	}
	page := f.page(ctx, s)
	span.End()

	if quoted < 6 {
		t.Errorf("only %d errors have the secret in them: the test tests nothing", quoted)
	}
	if !strings.Contains(unsafe.String(), s.core) {
		t.Error("the log that is asked for values has none: the test tests nothing")
	}
	var metrics metricdata.ResourceMetrics
	must(t, f.Reader.Collect(context.Background(), &metrics))
	for where, text := range map[string]string{
		"a span":   everyText(f.Spans.Ended()),
		"a metric": fmt.Sprintf("%+v", metrics),
		"a line":   safe.String(),
		"a page":   page + debug,
	} {
		if at := strings.Index(text, s.core); at >= 0 {
			t.Errorf("the secret %q is in %s: …%s…", s, where, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// page is what a client of a handler that fails gets to see.
func (f *fixture) page(ctx context.Context, s secret) string {
	handler, err := session.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		db := session.DB(r.Context(), f.DB.DB)
		db.ExecContext(r.Context(), "SELECT $1::text::int", s.String()) // dooms the unit
	}), session.HandlerConfig{Error: func(w http.ResponseWriter, r *http.Request, err error) {
		if !strings.Contains(err.Error(), s.core) {
			f.T.Error("the handler's error has no secret: the test tests nothing")
		}
		gatehttp.WriteError(w, err)
	}})
	must(f.T, err)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	return fmt.Sprint(answer.Header()) + answer.Body.String()
}

// debugPage is what the debug page shows, and its JSON, now.
func (f *fixture) debugPage() string {
	page := debugpage.New(map[string]*gate.Gate{"orders": f.Gate()})
	text := ""
	for _, accept := range []string{"text/html", "application/json"} {
		request := httptest.NewRequest("GET", "/", nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		page.ServeHTTP(answer, request)
		text += answer.Body.String()
	}
	if !strings.Contains(text, "SELECT $1::text") {
		f.T.Error("the statement is not on the debug page: the test tests nothing")
	}
	return text
}

// everyText returns all that spans have of texts.
func everyText(spans []sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintln(&b, s.Name(), s.Status(), s.Resource(), s.InstrumentationScope())
		for _, a := range s.Attributes() {
			fmt.Fprintln(&b, a.Key, a.Value.AsInterface())
		}
		for _, e := range s.Events() {
			fmt.Fprintln(&b, e.Name, e.Attributes)
		}
		for _, l := range s.Links() {
			fmt.Fprintln(&b, l.Attributes)
		}
	}
	return b.String()
}

// buffer is for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
