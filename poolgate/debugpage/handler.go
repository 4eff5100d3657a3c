// Package debugpage shows gates on a page for the moment when something is wrong:
// what they do now, what they did in the last ten minutes, and who has held their
// permits for how long.
//
//	mux.Handle("/debug/poolgate", debugpage.New(map[string]*gate.Gate{"orders": db.Gate()}))
//
// Mount it like [net/http/pprof], on a listener that only the people who run the
// program can reach. The page changes nothing. It shows the names of classes,
// statements without the values in them, and functions and files of the program:
// no secret, but how the program is built.
//
// Set gate.Config.LeakAfter and gate.Config.StackEvery for the page to say which
// permits have been held for too long, and where they were taken.
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
	defaultRefresh = 5 // seconds
	mostRefresh    = 3600
)

// New returns a handler that shows gates under their names in the map. It answers
// GET and HEAD on any path, and other methods with 405. The page is one file of
// HTML that loads nothing from elsewhere and runs no script. Gates with alarms come
// first, and then all in the order of their names.
//
// The page refreshes every five seconds. With ?refresh=30 it refreshes every 30
// seconds, with ?refresh=off never. With ?format=json, or for a client that accepts
// application/json and not text/html, the answer is JSON. With ?goroutines=show the
// page also shows where each holder's goroutine is now, or that it has ended. That
// stops the program while the stacks are printed, for about 10 µs for each
// goroutine, and is not done where there are more than 10,000.
//
// A page of 40 holders takes about 2 ms. It holds each gate's lock for some
// microseconds for each class and holder. New copies the map, and panics if a gate
// is nil.
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
	if err != nil { // a mistake of this package
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

// report collects what is shown. Stats, History and Holders of a gate are read one
// after the other, so they can be some microseconds apart.
func (h *handler) report(wanted wanted) report {
	r := report{Time: time.Now(), Gates: []gateReport{}}
	var stacks *goroutines.Stacks
	if wanted.goroutines {
		stacks = goroutines.Take()
	}
	for i, name := range h.names {
		one := reportOf(name, h.gates[name], r.Time, stacks)
		one.Anchor = fmt.Sprintf("gate-%d", i+1)
		r.Gates = append(r.Gates, one)
	}
	return r
}
