package debugpage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/internal/goroutines"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A report is what the page and the JSON show.
type report struct {
	Time  time.Time    `json:"time"`
	Gates []gateReport `json:"gates"`
}

type gateReport struct {
	Name       string         `json:"name"`
	Notes      []note         `json:"notes"`
	Mode       string         `json:"mode"`
	Limit      int            `json:"limit"`
	InFlight   int            `json:"in_flight"`
	Waiting    int            `json:"waiting"`
	OldestWait seconds        `json:"oldest_wait_seconds"`
	Paused     bool           `json:"paused"`
	Stopped    bool           `json:"stopped"`
	Overloaded bool           `json:"overloaded"`
	Shadow     bool           `json:"shadow"`
	LeakAfter  seconds        `json:"leak_after_seconds"`
	StackEvery int            `json:"stack_every"`
	Totals     gate.Counts    `json:"totals"`
	Classes    []classReport  `json:"classes"` // the lane out of band last, unless there is none
	Holders    []holderReport `json:"holders"` // those that hold longest first

	Adaptive *gate.AdaptiveStats `json:"adaptive,omitempty"` // nil if the limit is fixed

	Share *gate.ShareStats `json:"share,omitempty"` // nil if nothing bounds the limit

	Anchor string `json:"-"` // in the page; the same in every report
}

// A note says what stands out.
type note struct {
	Alarm   bool   `json:"alarm"`
	Text    string `json:"text"`
	Holders bool   `json:"-"` // the holders explain it
}

type classReport struct {
	Name       string           `json:"name"`
	Reserved   int              `json:"reserved"`
	Max        int              `json:"max"` // 0: as the limit
	Priority   int              `json:"priority"`
	InFlight   int              `json:"in_flight"`
	Waiting    int              `json:"waiting"`
	MaxWaiting int              `json:"max_waiting"`
	MaxWait    seconds          `json:"max_wait_seconds"`
	OldestWait seconds          `json:"oldest_wait_seconds"`
	Totals     gate.Counts      `json:"totals"`
	Wait       gate.Percentiles `json:"wait_seconds"`
	Hold       gate.Percentiles `json:"hold_seconds"`
	History    []periodReport   `json:"history"` // the oldest first
}

type periodReport struct {
	Start    time.Time        `json:"start"`
	Acquired uint64           `json:"acquired"`
	Waited   uint64           `json:"waited"`
	Refused  uint64           `json:"refused"`
	Wait     gate.Percentiles `json:"wait_seconds"`
	Hold     gate.Percentiles `json:"hold_seconds"`
}

type holderReport struct {
	Class     string  `json:"class"`
	Weight    int     `json:"weight"`
	Held      seconds `json:"held_seconds"` // 0: not known
	Leaked    bool    `json:"leaked"`
	Goroutine int64   `json:"goroutine"` // 0: not known
	Statement string  `json:"statement"`
	Running   bool    `json:"running"` // the statement
	Stack     string  `json:"stack"`

	// Now is the goroutine as it is now, if it was asked for.
	Now *goroutine `json:"now,omitempty"`
}

// TakenIn returns the function that took the permit.
func (h holderReport) TakenIn() string { return firstFrame(h.Stack) }

// IsIn returns the function that the goroutine is in now, and, if that is another,
// the line of the function that took the permit which called it.
func (h holderReport) IsIn() string {
	in, from := firstFrame(h.Now.Stack), sharedFrame(h.Now.Stack, h.Stack)
	if in == from {
		return in
	}
	return in + ", called in " + from
}

// Since returns when the permit was taken.
func (h holderReport) Since(now time.Time) string {
	return now.Add(-time.Duration(h.Held)).Format("15:04:05")
}

func reportOf(name string, g *gate.Gate, now time.Time, stacks *goroutines.Stacks) gateReport {
	s := g.Stats()
	r := gateReport{
		Name:       name,
		Mode:       s.Mode.String(),
		Limit:      s.Limit,
		InFlight:   s.InFlight,
		Waiting:    s.Waiting,
		OldestWait: seconds(s.OldestWait),
		Paused:     s.Suspended,
		Stopped:    s.Stopped,
		Overloaded: s.Overloaded,
		Shadow:     s.Shadow,
		LeakAfter:  seconds(s.LeakAfter),
		StackEvery: s.StackEvery,
		Totals:     s.Counts,
		Holders:    []holderReport{},
	}
	if s.Adaptive.Max > 0 {
		r.Adaptive = &s.Adaptive
	}
	if s.Share.Held {
		r.Share = &s.Share
	}
	classes := s.Classes
	if s.OutOfBand.Max > 0 {
		classes = append(classes, s.OutOfBand)
	}
	for _, c := range classes {
		r.Classes = append(r.Classes, classOf(c, g.History(c.Name)))
	}
	for _, h := range g.Holders() {
		r.Holders = append(r.Holders, holderReport{
			Class:     h.Class,
			Weight:    h.Weight,
			Held:      seconds(h.Held),
			Leaked:    h.Leaked,
			Goroutine: h.Goroutine,
			Statement: h.Statement,
			Running:   h.Running,
			Stack:     h.Stack,
			Now:       find(stacks, h.Goroutine),
		})
	}
	r.Notes = r.notes(now)
	return r
}

func classOf(c gate.ClassStats, history []gate.Period) classReport {
	r := classReport{
		Name:       c.Name,
		Reserved:   c.Reserved,
		Max:        c.Max,
		Priority:   c.Priority,
		InFlight:   c.InFlight,
		Waiting:    c.Waiting,
		MaxWaiting: c.MaxWaiting,
		MaxWait:    seconds(c.MaxWait),
		OldestWait: seconds(c.OldestWait),
		Totals:     c.Counts,
		Wait:       c.Wait,
		Hold:       c.Hold,
	}
	for _, p := range history {
		r.History = append(r.History, periodReport{
			p.Start, p.Acquired, p.Waited, p.Refused, p.Wait, p.Hold,
		})
	}
	return r
}

// notes returns what stands out, the worst first.
func (r *gateReport) notes(now time.Time) []note {
	notes := []note{}
	add := func(alarm bool, format string, args ...any) {
		notes = append(notes, note{Alarm: alarm, Text: fmt.Sprintf(format, args...)})
	}
	if r.Stopped {
		add(true, "Closed: the gate admits nobody any more.")
	}
	if r.Paused {
		add(true, "Paused: the gate admits nobody until Resume is called.")
	}
	if r.Overloaded {
		add(true, "Overloaded: the newest callers go first, and the longest waiters of the lowest class are refused.")
	}
	leaked, longest, taken := 0, seconds(0), make(map[string]int)
	for _, h := range r.Holders {
		if h.Leaked {
			leaked++
			longest = max(longest, h.Held)
			if in := h.TakenIn(); in != "" {
				taken[in]++
			}
		}
	}
	if leaked > 0 {
		add(true, "%s for longer than %v, the longest for %v%s.",
			number(leaked, "holder has had its permit", "holders have had their permits"), r.LeakAfter, longest, most(taken, leaked))
		notes[len(notes)-1].Holders = true
	}
	full := r.InFlight >= r.Limit
	if s := r.Share; s != nil && s.Permits == 0 {
		add(r.Waiting > 0, "The gate has no share of its fleet's budget now, and admits nobody. Without a fleet the limit would be %d.", s.Without)
	} else if s != nil && r.Limit < s.Without {
		add(false, "The limit is bounded by a share of %d of a fleet's budget. Without it the limit would be %d.", s.Permits, s.Without)
	}
	if s := r.Share; s != nil && s.LastError != nil {
		add(true, "The last heartbeat of the fleet has failed (%s). Until one is answered the gate gets nothing more, and it loses its share after 8 to 28 seconds.",
			errortype.Of(s.LastError))
	}
	if full && r.Waiting > 0 && r.Limit > 0 {
		add(true, "%s, and %s, the longest for %v.", inUse(r.InFlight, r.Limit), number(r.Waiting, "caller waits", "callers wait"), r.OldestWait)
		if still := r.lastAdmitted(); still >= standstill {
			add(true, "Nobody was admitted for %v.", still)
		}
	}
	if n, since := r.refusedSince(); n > 0 {
		format := "%s refused in the last %v."
		if r.Shadow { // where a closed gate refuses nevertheless
			format = "%s refused, or would have been, in the last %v."
		}
		add(true, format, number(int(n), "caller was", "callers were"), seconds(max(time.Second, now.Sub(since).Round(time.Second))))
	}
	if n := r.Totals.UnknownClass; n > 0 {
		add(true, "%s refused because the gate does not have the class that was named.", number(int(n), "caller was", "callers were"))
	}
	if full && r.Waiting == 0 && r.Limit > 0 {
		add(false, "%s, and nobody waits.", inUse(r.InFlight, r.Limit))
	}
	if r.InFlight > r.Limit {
		add(false, "The limit was lowered, and more permits than that are still in use.")
	}
	if r.Shadow {
		add(false, "Shadow mode: nobody is refused. A refusal that is counted would have been one.")
	}
	return notes
}

// alarms returns the notes that are alarms.
func (r gateReport) alarms() []note {
	return slices.DeleteFunc(slices.Clone(r.Notes), func(n note) bool { return !n.Alarm })
}

func inUse(n, limit int) string {
	if n == limit {
		if n == 1 {
			return "The only permit is in use"
		}
		return fmt.Sprintf("All %d permits are in use", n)
	}
	return fmt.Sprintf("%d permits are in use, of %d", n, limit)
}

// most returns where most of all permits were taken, from how many each place
// took.
func most(taken map[string]int, all int) string {
	places := slices.SortedFunc(maps.Keys(taken), func(a, b string) int {
		return cmp.Or(taken[b]-taken[a], strings.Compare(a, b))
	})
	switch {
	case len(places) == 0:
		return ""
	case taken[places[0]] == all:
		return "; taken in " + places[0]
	}
	var each []string
	for _, place := range places[:min(3, len(places))] {
		each = append(each, fmt.Sprintf("%d in %s", taken[place], place))
	}
	return "; taken " + strings.Join(each, "; ")
}

// standstill is how long nobody must have been admitted to be worth a note.
const standstill = seconds(5 * time.Second)

// lastAdmitted returns how long ago the last caller was admitted within the limit,
// or 0 if that is not known. All permits are in use, and callers wait. So the caller
// that was admitted last still holds its permit: one that came back would have gone to
// a waiter, unless the limit was lowered meanwhile.
func (r *gateReport) lastAdmitted() seconds {
	for _, h := range slices.Backward(r.Holders) { // who holds for the least time is last
		if h.Class != gate.OutOfBandClass {
			return h.Held
		}
	}
	return 0
}

// refusedSince returns how many callers were refused in the present period and
// the one before it, and when that one began.
func (r *gateReport) refusedSince() (n uint64, since time.Time) {
	for _, c := range r.Classes {
		for _, p := range c.History[max(0, len(c.History)-2):] {
			n += p.Refused
			if since.IsZero() || p.Start.Before(since) {
				since = p.Start
			}
		}
	}
	return n, since
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
