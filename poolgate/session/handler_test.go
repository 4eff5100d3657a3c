package session_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A site serves one handler in a unit of work, by real HTTP.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	errs []error // what HandlerConfig.Error was called with
}

func (s *site) errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errs
}

func serve(t *testing.T, h2 bool, config session.HandlerConfig, f http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	config.Error = func(w http.ResponseWriter, r *http.Request, err error) {
		s.mu.Lock()
		s.errs = append(s.errs, err)
		s.mu.Unlock()
		gatehttp.WriteError(w, err)
	}
	handler, err := session.NewHandler(f, config)
	must(t, err)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("From-Outside", "yes") // another middleware's
		handler.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // panics are part of the tests
	if h2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

func (s *site) get(t *testing.T) answer {
	t.Helper()
	response, err := s.Client().Get(s.URL + "/a")
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response, string(body), err}
}

func (a answer) is(t *testing.T, status int, body string) {
	t.Helper()
	if a.Response == nil {
		t.Fatal(a.err)
	}
	if a.StatusCode != status || a.body != body || a.err != nil {
		t.Errorf("got %d %q (%v), want %d %q", a.StatusCode, a.body, a.err, status, body)
	}
}

func TestHandler(t *testing.T) {
	const failed = "Internal Server Error\n"
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "http1", true: "http2"}[h2], func(t *testing.T) {
			onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
				// write serves a handler and asks once; when the answer is
				// there, the commit must have been made.
				write := func(t *testing.T, db *fixture, f http.HandlerFunc) (answer, *site) {
					s := serve(t, h2, session.HandlerConfig{}, f)
					a := s.get(t)
					if major := map[bool]int{true: 2}[h2]; a.Response != nil && h2 && a.ProtoMajor != major {
						t.Errorf("it is HTTP/%d", a.ProtoMajor)
					}
					s.Close()
					nothingHeld(t, db.DB)
					nothingHeld(t, db.other)
					return a, s
				}
				must2 := func(t *testing.T, err error) { // in the handler's goroutine
					if err != nil {
						t.Error(err)
					}
				}

				run("commits on several databases when it answers with success", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						must2(t, insert(r.Context(), session.DB(r.Context(), db.other.DB), "b"))
						w.WriteHeader(201)
						inFlight(t, db.DB, 0)
						fmt.Fprint(w, "made")
					})
					a.is(t, 201, "made")
					has(t, db.DB, "a")
					has(t, db.other, "b")
				})
				run("commits before the first byte is out, and when nothing is written", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						io.WriteString(w, "text")
						has(t, db.DB, "a")
					})
					a.is(t, 200, "text")
					a, _ = write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "b"))
					})
					a.is(t, 200, "")
					has(t, db.DB, "a", "b")
				})
				run("takes no connection where none is used", func(t *testing.T, db *fixture) {
					before := db.Gate().Stats().Acquired
					write(t, db, func(w http.ResponseWriter, r *http.Request) { session.DB(r.Context(), db.DB.DB) })
					if db.Gate().Stats().Acquired != before {
						t.Error("it took one")
					}
				})
				for name, answer := range map[string]func(w http.ResponseWriter){
					"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(201); io.WriteString(w, "made") },
					"Write":       func(w http.ResponseWriter) { io.WriteString(w, "made") },
					"ReadFrom":    func(w http.ResponseWriter) { io.Copy(w, io.LimitReader(strings.NewReader("made"), 4)) },
					"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
					"nothing":     func(w http.ResponseWriter) {},
				} {
					run("a COMMIT that fails is a 500, and nothing of the answer is out: "+name, func(t *testing.T, db *fixture) {
						a, s := write(t, db, func(w http.ResponseWriter, r *http.Request) {
							w.Header().Set("Set-Cookie", "login=lost")
							w.Header().Set("Content-Length", "4")
							must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
							must2(t, orphan(r.Context(), session.DB(r.Context(), db.DB.DB)))
							answer(w)
							if name == "nothing" {
								return
							}
							if _, err := io.WriteString(w, "more"); sqlState(err) != "23503" {
								t.Errorf("a later Write gave %v", err)
							}
							w.WriteHeader(200)
						})
						a.is(t, 500, failed)
						if a.Header.Get("Set-Cookie") != "" || a.Header.Get("From-Outside") != "yes" {
							t.Errorf("header: %v", a.Header)
						}
						if errs := s.errors(); len(errs) != 1 || sqlState(errs[0]) != "23503" {
							t.Errorf("reported: %v", errs)
						}
						has(t, db.DB)
					})
				}
				run("rolls back when it answers with an error", func(t *testing.T, db *fixture) {
					a, s := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						must2(t, session.From(r.Context()).AfterCommit(func(context.Context) { t.Error("a hook was run") }))
						w.WriteHeader(http.StatusConflict)
						inFlight(t, db.DB, 0)
						io.WriteString(w, "no")
					})
					a.is(t, 409, "no")
					if len(s.errors()) > 0 {
						t.Error(s.errors())
					}
					has(t, db.DB)
				})
				run("rolls back when it panics", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						panic(http.ErrAbortHandler)
					})
					if a.err == nil {
						t.Error("there is an answer")
					}
					has(t, db.DB)
				})
				run("a redirect commits, and 1xx decides nothing", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						w.WriteHeader(http.StatusEarlyHints)
						has(t, db.DB)
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "b"))
						w.WriteHeader(http.StatusNotModified)
					})
					a.is(t, 304, "")
					has(t, db.DB, "a", "b")
				})
				run("a handler that has closed its session decides alone", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						must2(t, session.From(r.Context()).Commit())
						must2(t, session.From(r.Context()).Close())
						io.WriteString(w, "text")
					})
					a.is(t, 200, "text")
					has(t, db.DB, "a")
				})
				run("streams, with the write committed before the first flush, and reads on behind it", func(t *testing.T, db *fixture) {
					first := make(chan bool)
					s := serve(t, h2, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
						ctx := r.Context()
						must2(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
						io.WriteString(w, "one ")
						must2(t, http.NewResponseController(w).Flush())
						must2(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)))
						<-first
						var n int
						must2(t, session.DB(ctx, db.DB.DB).QueryRowContext(ctx, "SELECT count(*) FROM texts").Scan(&n))
						fmt.Fprint(w, n)
					})
					response, err := s.Client().Get(s.URL)
					must(t, err)
					defer response.Body.Close()
					head := make([]byte, 4)
					_, err = io.ReadFull(response.Body, head)
					must(t, err)
					has(t, db.DB, "a")
					close(first)
					rest, err := io.ReadAll(response.Body)
					if string(head)+string(rest) != "one 1" || err != nil {
						t.Errorf("got %q, %v", string(head)+string(rest), err)
					}
					s.Close()
				})
				run("no write can be lost behind the header: it is refused", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						io.WriteString(w, "text")
						err := insert(r.Context(), session.DB(r.Context(), db.DB.DB), "lost")
						if sqlState(err) != "25006" {
							t.Errorf("the write gave %v", err)
						}
						must2(t, session.From(r.Context()).Rollback())
						must2(t, session.RunNew(r.Context(), func(ctx context.Context) error {
							return insert(ctx, session.DB(ctx, db.DB.DB), "new")
						}))
					})
					a.is(t, 200, "text")
					has(t, db.DB, "new")
				})
				run("an answer is cut off where a hook fails behind the header", func(t *testing.T, db *fixture) {
					a, s := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						io.WriteString(w, "text")
						http.NewResponseController(w).Flush()
						must2(t, session.From(r.Context()).BeforeCommit(func(context.Context) error { return errMine }))
					})
					if a.err == nil {
						t.Errorf("the client has a whole answer: %q", a.body)
					}
					if errs := s.errors(); len(errs) != 1 || !errors.Is(errs[0], errMine) {
						t.Errorf("reported: %v", errs)
					}
				})
				run("rows that are open when the answer begins make a 500", func(t *testing.T, db *fixture) {
					a, s := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						rows, err := session.DB(r.Context(), db.DB.DB).QueryContext(r.Context(), "SELECT generate_series(1, 10000)")
						must2(t, err)
						defer rows.Close()
						rows.Next()
						_, err = io.WriteString(w, "text")
						is(t, err, session.ErrBusy)
					})
					a.is(t, 500, failed)
					if len(s.errors()) != 1 {
						t.Error(s.errors())
					}
				})
				run("an answer inside of a nested Run makes a 500", func(t *testing.T, db *fixture) {
					a, s := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						session.Run(r.Context(), func(ctx context.Context) error {
							must2(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
							io.WriteString(w, "text")
							return nil
						})
					})
					a.is(t, 500, failed)
					if errs := s.errors(); len(errs) != 1 || !errors.Is(errs[0], session.ErrNested) {
						t.Errorf("reported: %v", errs)
					}
					has(t, db.DB)
				})
				run("rows can be streamed where the unit only reads", func(t *testing.T, db *fixture) {
					s := serve(t, h2, session.HandlerConfig{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
						ctx := r.Context()
						rows, err := session.DB(ctx, db.DB.DB).QueryContext(ctx, "SELECT generate_series(1, 3000)")
						must2(t, err)
						defer rows.Close()
						for rows.Next() {
							var n int
							must2(t, rows.Scan(&n))
							fmt.Fprintln(w, n)
						}
						must2(t, rows.Err())
					})
					if a := s.get(t); a.StatusCode != 200 || strings.Count(a.body, "\n") != 3000 {
						t.Errorf("got %d, %d lines", a.StatusCode, strings.Count(a.body, "\n"))
					}
					s.Close()
				})
				run("a serializable unit that only reads is committed before the header all the same", func(t *testing.T, db *fixture) {
					s := serve(t, h2, session.HandlerConfig{ReadOnly: true, Isolation: sql.LevelSerializable}, func(w http.ResponseWriter, r *http.Request) {
						_, err := session.DB(r.Context(), db.DB.DB).ExecContext(r.Context(), "SELECT 1")
						must2(t, err)
						io.WriteString(w, "text")
						inFlight(t, db.DB, 0)
					})
					s.get(t).is(t, 200, "text")
					s.Close()
				})
				run("a refusal by the gate is a 503 that says when to come again", func(t *testing.T, db *fixture) {
					small, err := db.open(poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: 100 * time.Millisecond}})
					must(t, err)
					defer small.Close()
					permit, err := small.Gate().Acquire(context.Background())
					must(t, err)
					defer permit.Release()
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						if err := insert(r.Context(), session.DB(r.Context(), small.DB), "a"); err != nil {
							http.Error(w, "no database", 500) // as handlers do
						}
					})
					a.is(t, 503, "no database\n")
					if after := a.Header.Get("Retry-After"); after != "1" {
						t.Errorf("Retry-After is %q", after)
					}
					a, _ = write(t, db, func(w http.ResponseWriter, r *http.Request) { // a deadline ends while it waits
						ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond)
						defer cancel()
						if err := insert(ctx, session.DB(ctx, small.DB), "a"); err != nil {
							is(t, err, context.DeadlineExceeded)
							http.Error(w, "no database", 500)
						}
					})
					a.is(t, 503, "no database\n")
					a, _ = write(t, db, func(w http.ResponseWriter, r *http.Request) { // in a hook
						session.From(r.Context()).BeforeCommit(func(ctx context.Context) error {
							return insert(ctx, session.DB(ctx, small.DB), "a")
						})
						io.WriteString(w, "text")
					})
					a.is(t, 503, "Service Unavailable\n")
					a, _ = write(t, db, func(w http.ResponseWriter, r *http.Request) { // from a cache instead
						insert(r.Context(), session.DB(r.Context(), small.DB), "a")
						io.WriteString(w, "text")
					})
					a.is(t, 200, "text")
				})
				run("a client that goes away has its unit rolled back at once", func(t *testing.T, db *fixture) {
					written, noticed := make(chan bool), make(chan bool)
					var after error
					s := serve(t, h2, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
						defer close(noticed)
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						close(written)
						<-r.Context().Done()
						eventually(t, "the permit is free", func() bool { return db.Gate().Stats().InFlight == 0 })
						_, after = io.WriteString(w, "too late")
					})
					ctx, cancel := context.WithCancel(context.Background())
					request, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
					must(t, err)
					go func() { <-written; cancel() }()
					if _, err := s.Client().Do(request); err == nil {
						t.Error("there is an answer")
					}
					<-noticed
					is(t, after, context.Canceled)
					s.Close()
					if len(s.errors()) != 1 {
						t.Errorf("reported: %v", s.errors())
					}
					has(t, db.DB)
				})
				run("a client that goes away during a statement too", func(t *testing.T, db *fixture) {
					ended := make(chan bool)
					s := serve(t, h2, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
						defer close(ended)
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						if _, err := session.DB(r.Context(), db.DB.DB).ExecContext(r.Context(), "SELECT pg_sleep(30)"); err == nil {
							t.Error("no error")
						}
					})
					ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
					defer cancel()
					request, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
					must(t, err)
					if _, err := s.Client().Do(request); err == nil {
						t.Error("there is an answer")
					}
					<-ended
					s.Close()
					has(t, db.DB)
				})
				run("Hijack commits and hands the connection over", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, insert(r.Context(), session.DB(r.Context(), db.DB.DB), "a"))
						conn, _, err := http.NewResponseController(w).Hijack()
						if h2 {
							is(t, err, http.ErrNotSupported)
							has(t, db.DB) // and nothing is decided
							io.WriteString(w, "mine")
							return
						}
						must2(t, err)
						has(t, db.DB, "a")
						fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
						must2(t, conn.Close())
					})
					a.is(t, 200, "mine")
					has(t, db.DB, "a")
				})
				if h2 {
					return
				}
				run("Hijack whose COMMIT fails leaves a 500", func(t *testing.T, db *fixture) {
					a, _ := write(t, db, func(w http.ResponseWriter, r *http.Request) {
						must2(t, orphan(r.Context(), session.DB(r.Context(), db.DB.DB)))
						if _, _, err := w.(http.Hijacker).Hijack(); sqlState(err) != "23503" {
							t.Errorf("got %v", err)
						}
					})
					a.is(t, 500, failed)
				})
			})
		})
	}
}

// The bytes that a COMMIT which fails lets out are those of the 500 alone.
func TestNothingIsOutBeforeTheCommit(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("on the wire", func(t *testing.T, db *fixture) {
			s := serve(t, false, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
				orphan(r.Context(), session.DB(r.Context(), db.DB.DB))
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
				io.WriteString(w, strings.Repeat("x", 100_000))
			})
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			must(t, err)
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			all, err := io.ReadAll(bufio.NewReader(conn))
			must(t, err)
			if !strings.HasPrefix(string(all), "HTTP/1.1 500 ") || strings.Contains(string(all), "xx") || strings.Contains(string(all), " 200") {
				t.Errorf("got %.200q", all)
			}
			s.Close()
		})
	})
}

func TestHandlerConfig(t *testing.T) {
	if _, err := session.NewHandler(nil, session.HandlerConfig{}); err == nil {
		t.Error("a nil handler is accepted")
	}
	if _, err := session.NewHandler(http.NotFoundHandler(), session.HandlerConfig{Isolation: -1}); err == nil || !strings.Contains(err.Error(), "Isolation") {
		t.Errorf("got %v", err)
	}
}

// What a handler sets in its header does not go out with the answer that its
// work is lost, at whatever moment it sets it.
func TestTheHeaderOfWorkThatIsLost(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "http1", true: "http2"}[h2], func(t *testing.T) {
			onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
				set := func(h http.Header, when string) {
					h.Set("H-"+when, "yes")
					h.Set(http.TrailerPrefix+"T-"+when, "yes")
				}
				for name, test := range map[string]struct {
					work   func(context.Context, execer) error
					status int
					want   bool
				}{
					"a commit that fails":    {orphan, 500, false},
					"a commit that succeeds": {func(ctx context.Context, db execer) error { return insert(ctx, db, "a") }, 200, true},
				} {
					for _, writes := range []bool{false, true} {
						run(fmt.Sprintf("%s, writes=%v", name, writes), func(t *testing.T, db *fixture) {
							s := serve(t, h2, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
								kept := w.Header()
								kept.Set("Trailer", "Announced")
								set(kept, "Before")
								if err := test.work(r.Context(), session.DB(r.Context(), db.DB.DB)); err != nil {
									t.Error(err)
								}
								if writes {
									io.WriteString(w, "text")
								}
								kept.Set("Announced", "yes")
								set(kept, "Kept")
								set(w.Header(), "After")
							})
							a := s.get(t)
							s.Close()
							if a.Response == nil || a.StatusCode != test.status {
								t.Fatalf("got %+v", a)
							}
							if a.Header.Get("From-Outside") != "yes" {
								t.Error("the header of the other middleware is gone")
							}
							if got := a.Header.Get("H-Before") == "yes"; got != test.want {
								t.Errorf("header %v", a.Header)
							}
							sent := len(a.Trailer["T-Before"]) + len(a.Trailer["T-Kept"]) + len(a.Trailer["T-After"]) + len(a.Trailer["Announced"])
							if !test.want && (len(a.Trailer) > 0 || sent > 0) || test.want && (writes || h2) && sent != 4 {
								t.Errorf("trailer %v", a.Trailer)
							}
						})
					}
				}
			})
		})
	}
}

// The default log of a commit that fails has no value in it.
func TestTheDefaultLogHasNoValues(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		for _, test := range []struct {
			name string
			work func(context.Context, session.DBTX) error
			want string
		}{
			{"a statement that failed", func(ctx context.Context, db session.DBTX) error {
				db.ExecContext(ctx, "SELECT 's3cret'::int")
				return nil
			}, "22P02"},
			{"a part that failed", func(ctx context.Context, db session.DBTX) error {
				return session.Config{WhenOpen: session.Join}.Run(ctx, func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "SELECT 's3cret'::int")
					return err
				})
			}, "a part of the unit failed: 22P02"},
			{"a commit that the server refuses", func(ctx context.Context, db session.DBTX) error { return orphan(ctx, db) }, "23503"},
			{"rows that are open", func(ctx context.Context, db session.DBTX) error {
				_, err := db.QueryContext(ctx, "SELECT 's3cret' FROM generate_series(1, 10000)")
				return err
			}, "the rows of a QueryContext"},
		} {
			run(test.name, func(t *testing.T, db *fixture) {
				var written strings.Builder
				before := slog.Default()
				slog.SetDefault(slog.New(slog.NewTextHandler(&written, nil)))
				defer slog.SetDefault(before)
				handler, err := session.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					test.work(r.Context(), session.DB(r.Context(), db.DB.DB))
				}), session.HandlerConfig{})
				must(t, err)
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", "/a", nil))
				text := written.String()
				if w.Code != 500 || !strings.Contains(text, test.want) || strings.Contains(text, "s3cret") || strings.Contains(w.Body.String(), "s3cret") {
					t.Errorf("got %d, logged %s", w.Code, text)
				}
			})
		}
	})
}
