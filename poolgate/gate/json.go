package gate

import (
	"encoding/json"
	"strconv"
	"time"
)

// seconds is a duration that is a number of seconds in JSON.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// MarshalJSON returns the element "share" in [Stats.MarshalJSON]. It has the element
// "fleet" if the share is one of a fleet's budget. The text of LastError is not in it,
// since it can have the names of a server and a user.
func (s ShareStats) MarshalJSON() ([]byte, error) {
	type fleet struct {
		Budget     int     `json:"budget"`
		Target     int     `json:"target"`
		Demand     float64 `json:"demand"`
		Members    int     `json:"members"`
		Active     int     `json:"active"`
		Heartbeats uint64  `json:"heartbeats"`
		Failures   uint64  `json:"failures"`
		Failing    bool    `json:"failing"`
	}
	var f *fleet
	if s.Heartbeats+s.Failures > 0 {
		f = &fleet{s.Budget, s.Target, s.Demand, s.Members, s.Active, s.Heartbeats, s.Failures, s.LastError != nil}
	}
	return json.Marshal(struct {
		Permits int    `json:"permits"`
		Without int    `json:"limit_without"`
		Fleet   *fleet `json:"fleet,omitempty"`
	}{s.Permits, s.Without, f})
}

// MarshalJSON returns what the debug page returns as JSON for a gate: keys in
// snake_case, and times in seconds. It also serves expvar:
//
//	expvar.Publish("orders_gate", expvar.Func(func() any { return g.Stats() }))
func (s Stats) MarshalJSON() ([]byte, error) {
	classes := s.Classes
	if s.OutOfBand.Max > 0 {
		classes = append(classes[:len(classes):len(classes)], s.OutOfBand)
	}
	var adaptive *AdaptiveStats // left out where the limit is fixed
	if s.Adaptive.Max > 0 {
		adaptive = &s.Adaptive
	}
	var share *ShareStats // left out where there is none
	if s.Share.Held {
		share = &s.Share
	}
	return json.Marshal(struct {
		Mode       Mode         `json:"mode"`
		Limit      int          `json:"limit"`
		InFlight   int          `json:"in_flight"`
		Waiting    int          `json:"waiting"`
		OldestWait seconds      `json:"oldest_wait_seconds"`
		Paused     bool         `json:"paused"`
		Stopped    bool         `json:"stopped"`
		Overloaded bool         `json:"overloaded"`
		Shadow     bool         `json:"shadow"`
		LeakAfter  seconds      `json:"leak_after_seconds"`
		StackEvery int          `json:"stack_every"`
		Totals     Counts       `json:"totals"`
		Classes    []ClassStats `json:"classes"`

		Adaptive *AdaptiveStats `json:"adaptive,omitempty"`
		Share    *ShareStats    `json:"share,omitempty"`
	}{
		s.Mode, s.Limit, s.InFlight, s.Waiting, seconds(s.OldestWait), s.Suspended, s.Stopped,
		s.Overloaded, s.Shadow, seconds(s.LeakAfter), s.StackEvery, s.Counts, classes, adaptive, share,
	})
}

// MarshalJSON returns the element of a gate's classes in [Stats.MarshalJSON].
func (c ClassStats) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name       string      `json:"name"`
		Reserved   int         `json:"reserved"`
		Max        int         `json:"max"`
		Priority   int         `json:"priority"`
		InFlight   int         `json:"in_flight"`
		Waiting    int         `json:"waiting"`
		MaxWaiting int         `json:"max_waiting"`
		MaxWait    seconds     `json:"max_wait_seconds"`
		OldestWait seconds     `json:"oldest_wait_seconds"`
		Totals     Counts      `json:"totals"`
		Wait       Percentiles `json:"wait_seconds"`
		Hold       Percentiles `json:"hold_seconds"`
	}{
		c.Name, c.Reserved, c.Max, c.Priority, c.InFlight, c.Waiting, c.MaxWaiting, seconds(c.MaxWait),
		seconds(c.OldestWait), c.Counts, c.Wait, c.Hold,
	})
}

// MarshalJSON returns the totals, with the refusals by reason in refused_by.
func (c Counts) MarshalJSON() ([]byte, error) {
	by := make(map[string]uint64)
	for _, reason := range Reasons() {
		by[reason.String()] = c.RefusedFor(reason)
	}
	return json.Marshal(struct {
		Acquired     uint64            `json:"acquired"`
		Waited       uint64            `json:"waited"`
		WaitDuration seconds           `json:"wait_total_seconds"`
		Refused      uint64            `json:"refused"`
		RefusedBy    map[string]uint64 `json:"refused_by"`
		Canceled     uint64            `json:"canceled"`
		Leaked       uint64            `json:"leaked"`
	}{c.Acquired, c.Waited, seconds(c.WaitDuration), c.Refused(), by, c.Canceled, c.Leaked})
}

// MarshalJSON returns p50, p90, p99 and max in seconds.
func (p Percentiles) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		P50 seconds `json:"p50"`
		P90 seconds `json:"p90"`
		P99 seconds `json:"p99"`
		Max seconds `json:"max"`
	}{seconds(p.P50), seconds(p.P90), seconds(p.P99), seconds(p.Max)})
}

// MarshalJSON returns the element "adaptive" in [Stats.MarshalJSON].
func (a AdaptiveStats) MarshalJSON() ([]byte, error) {
	periods := a.Periods
	if periods == nil {
		periods = []LimitPeriod{}
	}
	return json.Marshal(struct {
		Min     int           `json:"min"`
		Max     int           `json:"max"`
		Center  int           `json:"center"`
		Reason  string        `json:"reason"`
		Periods []LimitPeriod `json:"history"`
	}{a.Min, a.Max, a.Center, a.Reason, periods})
}

// MarshalJSON returns an element of the history of [AdaptiveStats.MarshalJSON].
func (p LimitPeriod) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Start      time.Time `json:"start"`
		Center     int       `json:"center"`
		Statements int       `json:"statements"`
		Took       seconds   `json:"took_seconds"`
	}{p.Start, p.Center, p.Statements, seconds(p.Took)})
}
