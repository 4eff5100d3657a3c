package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	margin       = 2 * time.Second // by which a lease ends before its row expires
	storeTimeout = 2 * time.Second // of a heartbeat
)

// A load is what a member does with its share.
type load struct {
	needs   int // connections, for callers that have one and those that wait
	waiting int // callers
	inUse   int // connections of the server, idle ones included
}

// A user is who uses the share of a member: a DB, or a model of one in a test.
type user interface {
	// load returns what the user needs now.
	load() load

	// use has the user use at most n connections, until another call or until
	// then. It may have more for as long as statements last.
	use(n int, until time.Time)

	// report is told what the member knows after a heartbeat.
	report(s gate.FleetStats)
}

// A member keeps a lease of a part of the budget. It follows the protocol that
// docs/fleet.md explains:
//
//   - The limit falls before a heartbeat is sent, and rises after it was answered.
//   - A lease lasts from when its heartbeat was sent, by the member's own
//     monotonic clock, to margin before the row in the store expires.
//   - Without a lease the limit is 0.
type member struct {
	config Config
	store  Store
	user   user
	kick   chan struct{} // somebody waits
	key    string

	mu       sync.Mutex // guards what follows
	seq      int64
	tokens   []int64 // since the last answer, and of that
	limit    int
	grant    int       // of the row
	deadline time.Time // of the lease; zero if there is none
	seen     int       // what was needed at the last look
	demand   float64   // smoothed
	demandAt time.Time
	part         // what is fair; its level is infinite if the demands of all fit the budget
	looks    int // heartbeats since the level has changed
	view     View
	failures int // heartbeats in a row
	stats    gate.FleetStats
	left     bool // the row was deleted
	short    int  // heartbeats in a row that asked for more than there was
}

func newMember(store Store, u user, config Config) *member {
	return &member{config: config, store: store, user: u, kick: make(chan struct{}, 1), key: newKey(), part: part{level: math.Inf(1)}}
}

// newKey returns a random UUID. It is new in each process, so that a process
// that is started again is another member.
func newKey() string {
	var b [16]byte
	rand.Read(b[:]) // which never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	const hex = "0123456789abcdef"
	text := make([]byte, 0, 36)
	for i, x := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = append(text, hex[x>>4], hex[x&15])
	}
	return string(text)
}

func newToken() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}

// run sends heartbeats until ctx ends.
func (m *member) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var pace pace
	var due time.Time // of the next; zero if only a caller makes one necessary
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if now := time.Now(); now.Before(due) && !m.hasSurplus() {
				timer.Reset(min(due.Sub(now), edgeInterval))
				continue
			}
		case <-m.kick:
			if !m.isPressed() {
				continue
			}
		}
		if wait := pace.wait(time.Now()); wait > 0 {
			due = time.Now().Add(wait)
			timer.Reset(wait)
			continue
		}
		pace.spend(time.Now())
		next := m.beat(ctx)
		timer.Stop()
		if next == 0 {
			continue
		}
		due = time.Now().Add(next)
		if m.mayBeAsked() {
			next = min(next, edgeInterval)
		}
		timer.Reset(next)
	}
}

// isPressed reports whether the member needs more than it has, so that it should
// not wait for the next heartbeat. If it had told the fleet of a need beyond its fair
// share already, another heartbeat would bring nothing. After one that brought too
// little or failed the next comes soon by itself, and later each time: callers do not
// change that.
func (m *member) isPressed() bool {
	l := m.user.load()
	m.mu.Lock()
	defer m.mu.Unlock()
	limited := float64(m.target) < m.demand
	return l.waiting > 0 && l.needs > m.effective(time.Now()) && !limited && m.short == 0 && m.failures == 0
}

// mayBeAsked reports whether others could use what the member does not.
func (m *member) mayBeAsked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.fits() && (m.limit > m.config.Min || m.limit < m.grant)
}

// hasSurplus reports whether others have too little while the member has had much more
// than it needed for two looks, or has given back what its row still grants. It should
// not keep that until the next heartbeat. It is a look, and asks nobody.
func (m *member) hasSurplus() bool {
	if !m.mayBeAsked() {
		return false
	}
	l := m.user.load()
	m.mu.Lock()
	defer m.mu.Unlock()
	lately := max(l.needs, m.seen)
	m.seen = l.needs
	return m.limit-max(lately, m.config.Min) > m.limit/4 || m.grant-max(m.limit, l.inUse) > m.grant/4
}

// fits reports whether the demands of all fit the budget. It is called with m.mu held.
func (m *member) fits() bool { return math.IsInf(m.level, 1) }

// effective is the limit that holds now. It is called with m.mu held.
func (m *member) effective(now time.Time) int {
	if now.Before(m.deadline) {
		return m.limit
	}
	return 0
}

// beat sends a heartbeat and returns in how long the next is due; 0 if only a
// caller makes it necessary.
func (m *member) beat(ctx context.Context) (next time.Duration) {
	within, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	view, err := m.store.Read(within)
	var h Heartbeat
	var between time.Duration
	var sent time.Time
	var reply Reply
	if err == nil {
		h, between = m.prepare(view)
		sent = time.Now()
		reply, err = m.store.Write(within, h)
	}
	switch {
	case err == nil:
		return m.answered(h, reply, sent, between)
	case ctx.Err() != nil:
		return 0 // the member leaves, and the store did not fail
	}
	return m.failed(err)
}

// active returns how many members send heartbeats.
func active(v View) (n int) {
	for _, m := range v.Members {
		if m.Demand > 0 || m.Grant > 0 || m.Min > 0 {
			n++
		}
	}
	return n
}

// prepare lowers the limit to what is fair, and returns what to tell the store.
func (m *member) prepare(v View) (Heartbeat, time.Duration) {
	l := m.user.load()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	between, ttl := interval(active(v))
	m.view = v
	m.smooth(l.needs, now, between)
	own := claim{m.demand, float64(m.config.Min), m.config.Weight}
	before := m.level
	m.part = fair(v, m.key, own, m.budget(), m.limit)
	if hasChanged(before, m.level) {
		m.looks = 0
	}
	if m.config.Max > 0 {
		m.target = min(m.target, m.config.Max)
	}
	m.limit = min(m.effective(now), m.target)
	m.apply()
	m.seq++
	token := newToken()
	m.tokens = append(m.tokens, token)
	return Heartbeat{
		Key:     m.key,
		Seq:     m.seq,
		Token:   token,
		Tokens:  m.tokens,
		Limit:   m.limit,
		InUse:   m.user.load().inUse, // after use has lowered it
		Target:  m.target,
		Demand:  m.demand,
		Min:     m.config.Min,
		Weight:  m.config.Weight,
		Budget:  m.config.Budget,
		Seconds: ttl.Seconds(),
	}, between
}

// smooth lets the demand rise at once and fall by half in an interval. If others could
// use what the member does not need, it falls at once to what was needed at the last two
// looks. It is called with m.mu held.
func (m *member) smooth(needs int, now time.Time, between time.Duration) {
	before := float64(m.seen)
	if m.fits() && !m.demandAt.IsZero() {
		before = m.demand * math.Exp2(-float64(now.Sub(m.demandAt))/float64(between))
		if before < 0.05 {
			before = 0
		}
	}
	m.seen, m.demandAt = needs, now
	m.demand = max(float64(needs), before)
}

func (m *member) failed(err error) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures++
	m.stats.Failures++
	m.stats.LastError = err
	if now := time.Now(); m.effective(now) == 0 { // the gate knows; its idle connections do not
		m.limit, m.deadline = 0, time.Time{}
	}
	m.report()
	m.apply()
	between, _ := interval(active(m.view))
	wait := time.Duration(float64(500*time.Millisecond) * math.Exp2(float64(min(m.failures-1, 10))))
	wait = min(wait, between/2+500*time.Millisecond)
	return time.Duration(float64(wait) * (0.5 + mathrand.Float64()))
}

func (m *member) answered(h Heartbeat, r Reply, sent time.Time, between time.Duration) time.Duration {
	l := m.user.load()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Heartbeats++
	m.stats.LastError = nil
	m.failures = 0
	switch r.Status {
	case Duplicate:
		m.key, m.tokens = newKey(), nil
		m.limit, m.grant, m.deadline = 0, 0, time.Time{}
		m.report()
		m.apply()
		return time.Millisecond
	case Late:
		m.report()
		return edgeInterval
	}
	m.tokens = []int64{h.Token}
	m.limit, m.grant = r.Limit, r.Grant
	m.view.put(Member{h.Key, h.Seq, h.Demand, r.Grant, h.Min, h.Weight, h.Budget})
	m.deadline = sent.Add(time.Duration(h.Seconds*float64(time.Second)) - margin)
	m.report()
	m.apply()
	if m.turn > 0 {
		between = min(between, time.Duration(m.turn*float64(time.Second))+edgeInterval)
	}
	lacks := m.limit < m.target && l.waiting > 0
	switch {
	case lacks && m.short == 0:
		m.short, m.looks = 1, 0
	case lacks:
		m.short++
	default:
		m.short = 0
	}
	switch {
	case lacks || float64(m.target) < m.demand && m.looks < 2: // what the others have told may be old
		m.looks++
		looks := m.looks - 1
		if m.limit == 0 { // before those that have something already
			looks = min(looks, 2)
		}
		return min(between, soon(looks, active(m.view)))
	case m.limit == 0 && m.demand == 0 && l.inUse == 0 && m.config.Min == 0:
		return 0
	}
	return between
}

// apply has the user use what it may. It is called with m.mu held, and gives that
// up meanwhile: the observers of a gate may ask for Stats. Only the goroutine of
// run changes what it applies, and leave after that has ended.
func (m *member) apply() {
	n, until := m.limit, m.deadline
	m.mu.Unlock()
	defer m.mu.Lock()
	m.user.use(n, until)
}

// report tells the user what is known after a heartbeat, before apply lets callers in
// who look at it. It gives m.mu up as apply does.
func (m *member) report() {
	m.stats.Budget, m.stats.Target, m.stats.Demand = m.budget(), m.target, m.demand
	m.stats.Granted = m.effective(time.Now())
	m.stats.Members, m.stats.Active = len(m.view.Members), active(m.view)
	s := m.stats
	m.mu.Unlock()
	defer m.mu.Lock()
	m.user.report(s)
}

// leave stops admission, waits until nothing is in use, and gives the share back.
func (m *member) leave(ctx context.Context) error {
	m.mu.Lock()
	m.limit, m.deadline = 0, time.Time{}
	m.apply()
	key, left := m.key, m.left
	m.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for m.user.load().inUse > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("fleet: waiting until nothing is in use: %w", ctx.Err())
		}
	}
	if left {
		return nil
	}
	if err := m.store.Leave(ctx, key); err != nil {
		return fmt.Errorf("fleet: giving the share back: %w", err)
	}
	m.mu.Lock()
	m.left = true
	m.mu.Unlock()
	return nil
}

// budget is the lowest that a member announces. It is called with m.mu held.
func (m *member) budget() int {
	if m.view.Budget > 0 {
		return min(m.config.Budget, m.view.Budget)
	}
	return m.config.Budget
}
