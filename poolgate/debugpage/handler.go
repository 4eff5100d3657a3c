// Package debugpage is a page to look at when something is wrong: what gates do
// now, what they did in the last ten minutes, and who holds their permits since
// when.
//
//	mux.Handle("/debug/poolgate", debugpage.New(map[string]*gate.Gate{"orders": db.Gate()}))
//
// It is in the spirit of [net/http/pprof], and belongs where that is: on a
// listener that only those reach who look after the program. Nobody can change
// anything by it. It shows the names of classes, statements without the values
// in them, and functions and files of the program, so no secret, but how it is
// built.
//
// Who holds a permit is told best with gate.Config.LeakAfter and
// gate.Config.StackEvery set.
package debugpage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/goroutines"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	// defaultRefresh is after how many seconds the page loads itself anew.
	defaultRefresh = 5
	mostRefresh    = 3600
)

// New returns a handler that shows gates, by the names that they have in the
// map, in the order of these. It answers GET and HEAD on whatever path it is
// mounted, and anything else with 405. Its answers need nothing from elsewhere
// and run no script.
//
// The page loads itself anew every five seconds; ?refresh=30 has it wait for 30,
// and ?refresh=off lets it stand. With ?format=json, or to a client that accepts
// application/json and not text/html, the same is told as JSON. With
// ?goroutines=show each holder's goroutine is looked up: where it stands now, or
// that it has ended. That stops the program while all stacks are printed, at
// most 10 µs for each goroutine, and is not done where there are more than
// 10,000.
//
// A page of 40 holders takes about 2 ms, of which each gate's lock is held for
// some microseconds for each class and holder. The map is copied. New panics if
// one of its gates is nil.
func New(gates map[string]*gate.Gate) http.Handler {
	for name, g := range gates {
		if g == nil {
			panic(fmt.Sprintf("debugpage: New: the gate %q is nil", name))
		}
	}
	return &handler{gates: maps.Clone(gates), names: slices.Sorted(maps.Keys(gates))}
}

type handler struct {
	gates map[string]*gate.Gate
	names []string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	wanted, err := parse(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	report := h.report(wanted)
	var body bytes.Buffer
	if wanted.json {
		header.Set("Content-Type", "application/json")
		encoder := json.NewEncoder(&body)
		encoder.SetIndent("", "\t")
		err = encoder.Encode(report)
	} else {
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("Referrer-Policy", "no-referrer")
		if wanted.refresh > 0 {
			header.Set("Refresh", strconv.Itoa(wanted.refresh))
		}
		err = page.Execute(&body, view{report, wanted})
	}
	if err != nil { // ours
		panic(err)
	}
	header.Set("Vary", "Accept")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.Write(body.Bytes()) // of which net/http sends nothing to a HEAD
}

// wanted is what a request asks for.
type wanted struct {
	json       bool
	goroutines bool
	refresh    int // seconds; 0 for never
}

func parse(r *http.Request) (wanted, error) {
	query := r.URL.Query()
	accept := r.Header.Get("Accept")
	w := wanted{
		json:    strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html"),
		refresh: defaultRefresh,
	}
	switch query.Get("format") {
	case "":
	case "json":
		w.json = true
	case "html":
		w.json = false
	default:
		return w, fmt.Errorf("format must be html or json")
	}
	switch query.Get("goroutines") {
	case "":
	case "show":
		w.goroutines, w.refresh = true, 0
	default:
		return w, fmt.Errorf("goroutines can be show, or left out")
	}
	switch s := query.Get("refresh"); s {
	case "":
	case "off":
		w.refresh = 0
	default:
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > mostRefresh {
			return w, fmt.Errorf("refresh must be off, or a number of seconds from 1 to %d", mostRefresh)
		}
		w.refresh = n
	}
	return w, nil
}

// report gathers what is shown. Each gate is asked for several things one after
// the other, so that they can be some microseconds apart.
func (h *handler) report(wanted wanted) report {
	r := report{Time: time.Now(), Gates: []gateReport{}}
	var stacks *goroutines.Stacks
	if wanted.goroutines {
		stacks = goroutines.Take()
	}
	for _, name := range h.names {
		r.Gates = append(r.Gates, reportOf(name, h.gates[name], r.Time, stacks))
	}
	return r
}
