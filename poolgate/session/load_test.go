package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/session"
)

// What the client was told is true, whatever happens to the others: a row is
// there if the answer was a success, and not if it was anything else. Of those
// that went away before the answer nobody knows.
func TestAnswersAreTrue(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("under load", func(t *testing.T, db *fixture) {
			s := serve(t, false, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
				ctx, id, how := r.Context(), r.FormValue("id"), r.FormValue("how")
				if err := insert(ctx, session.DB(ctx, db.DB.DB), id); err != nil {
					gatehttp.WriteError(w, err)
					return
				}
				nested := session.Run(ctx, func(ctx context.Context) error {
					insert(ctx, session.DB(ctx, db.DB.DB), id+" undone")
					return errMine
				})
				if nested != errMine && ctx.Err() == nil {
					t.Errorf("got %v", nested)
				}
				switch how {
				case "panic":
					panic(http.ErrAbortHandler)
				case "refuse":
					w.WriteHeader(409)
				case "orphan":
					orphan(ctx, session.DB(ctx, db.DB.DB))
				case "late":
					io.WriteString(w, "text")
					panic(http.ErrAbortHandler)
				}
			})
			hows := []string{"", "", "panic", "refuse", "orphan", "late", "leave"}
			var mu sync.Mutex
			told, maybe := map[string]bool{}, map[string]bool{}
			var wg sync.WaitGroup
			for client := range 16 {
				wg.Go(func() {
					for i := range 14 {
						how := hows[i%len(hows)]
						id := fmt.Sprintf("%d-%d-%s", client, i, how)
						ctx, cancel := context.WithCancel(context.Background())
						if how == "leave" {
							time.AfterFunc(time.Duration(client)*500*time.Microsecond, cancel)
						}
						request, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/?how="+how+"&id="+id, nil)
						response, err := s.Client().Do(request)
						mu.Lock()
						switch {
						case err == nil:
							told[id] = response.StatusCode == 200
							if !slices.Contains([]int{200, 409, 500}, response.StatusCode) {
								t.Errorf("%s: status %d", id, response.StatusCode)
							}
							response.Body.Close()
						case how == "leave" || how == "late":
							maybe[id] = true
						}
						mu.Unlock()
						cancel()
					}
				})
			}
			wg.Wait()
			s.Close()
			rows, err := db.QueryContext(context.Background(), "SELECT text FROM texts")
			must(t, err)
			defer rows.Close()
			there := map[string]bool{}
			for rows.Next() {
				var id string
				must(t, rows.Scan(&id))
				if there[id] = true; !told[id] && !maybe[id] {
					t.Errorf("%q is committed, and the client was told otherwise", id)
				}
			}
			must(t, rows.Err())
			yes := 0
			for id, success := range told {
				if success {
					yes++
					if !there[id] {
						t.Errorf("%q is lost behind a success", id)
					}
				}
			}
			if yes < 16*4 {
				t.Errorf("only %d successes of %d", yes, len(told))
			}
		})
	})
}
