package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// fleetName is the fleet that the members share.
const fleetName = "poolbench"

const (
	sampleEvery = 100 * time.Millisecond

	// errorPause is how long a caller pauses after an error, as one that
	// retries should.
	errorPause = 50 * time.Millisecond

	// maxIdleTime is below idleSessionTimeout, so that the server closes only
	// the idle connections of processes that are stopped.
	maxIdleTime = 4 * time.Second
)

// An assignment is what a process is to do. It reads it from its standard input.
type assignment struct {
	DSN     string        `json:"dsn"`
	Driver  bench.Driver  `json:"driver"`
	Budget  int           `json:"budget"` // of the fleet; 0 for none
	Limit   int           `json:"limit"`  // of the process alone
	Callers int           `json:"callers"`
	Hold    time.Duration `json:"hold"`
}

// A report is what a process reports about itself, as a line on its standard output.
// The numbers of statements and errors are totals.
type report struct {
	Time     time.Time         `json:"time"`
	Share    int               `json:"share"`
	Open     int               `json:"open"`
	InFlight int               `json:"in_flight"`
	Waiting  int               `json:"waiting"`
	Done     uint64            `json:"done"`
	Errors   map[string]uint64 `json:"errors,omitempty"`
	Left     bool              `json:"left,omitempty"` // the last report of a process that leaves
}

// A tally counts what the callers of a process do.
type tally struct {
	mu     sync.Mutex // guards what follows
	done   uint64
	errors map[string]uint64
}

func (t *tally) add(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.done++
		return
	}
	t.errors[kind(err)]++
}

func (t *tally) into(r *report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.Done, r.Errors = t.done, make(map[string]uint64, len(t.errors))
	for k, n := range t.errors {
		r.Errors[k] = n
	}
}

// kind names an error: by its SQLSTATE, or by the reason of the gate.
func kind(err error) string {
	if state := sqlstate.Of(err); state != "" {
		return state
	}
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok {
		return rejected.Reason.String()
	}
	text := err.Error()
	if strings.Contains(text, "bad connection") || strings.Contains(text, "connection refused") ||
		strings.Contains(text, "reset by peer") || strings.Contains(text, "broken pipe") || strings.Contains(text, "EOF") {
		return "connection lost"
	}
	return text
}

// Member is the work of one process. It reads its assignment from in, sends
// statements until in ends, and then leaves the fleet. It writes reports to out.
func Member(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the assignment: %w", err)
	}
	var a assignment
	if err := json.Unmarshal(first, &a); err != nil {
		return fmt.Errorf("reading the assignment: %w", err)
	}
	go func() {
		io.Copy(io.Discard, lines)
		end()
	}()
	return a.work(ctx, out)
}

func (a assignment) work(ctx context.Context, out io.Writer) (err error) {
	db, err := a.Driver.Open(a.DSN, poolgate.Config{
		Gate:        gate.Config{Limit: a.Limit, OutOfBand: gate.NoOutOfBand, MaxWait: time.Hour, MaxWaiting: max(1, a.Callers)},
		MaxIdleTime: maxIdleTime,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	var f *fleet.Fleet
	for a.Budget > 0 && f == nil { // the server may be away for a moment
		f, err = fleet.Join(ctx, db, fleet.Config{Name: fleetName, Budget: a.Budget})
		if err != nil {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(100 * time.Millisecond):
			}
		}
	}

	t := &tally{errors: map[string]uint64{}}
	var callers sync.WaitGroup
	for range a.Callers {
		callers.Go(func() { a.call(ctx, db, t) })
	}
	reports := json.NewEncoder(out)
	say := func(left bool) error {
		s := db.Gate().Stats()
		r := report{Time: time.Now(), Share: s.Limit, Open: db.Stats().OpenConnections, InFlight: s.InFlight, Waiting: s.Waiting, Left: left}
		if f != nil {
			r.Share = f.Stats().Permits
		}
		t.into(&r)
		return reports.Encode(r)
	}
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			if err := say(false); err != nil {
				return err // the process that started this one has ended
			}
		case <-ctx.Done():
		}
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := db.Gate().Drain(leaving); err != nil {
		return err
	}
	callers.Wait()
	if f != nil {
		if err := f.Leave(leaving); err != nil {
			return err
		}
	}
	return say(true)
}

// call sends one statement after another until ctx ends.
func (a assignment) call(ctx context.Context, db *poolgate.DB, t *tally) {
	statement := fmt.Sprintf("SELECT pg_sleep(%g)", a.Hold.Seconds())
	for ctx.Err() == nil {
		_, err := db.ExecContext(context.WithoutCancel(ctx), statement)
		if err != nil && ctx.Err() != nil {
			return // because the gate is drained
		}
		t.add(err)
		if err != nil {
			time.Sleep(errorPause)
		}
	}
}
