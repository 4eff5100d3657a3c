package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

const (
	margin       = 2 * time.Second        // by which a lease ends before its row expires
	edgeInterval = 250 * time.Millisecond // between heartbeats that demand asks for, at least
	storeTimeout = 2 * time.Second        // of a heartbeat
	perSecond    = 50                     // heartbeats of a fleet, about
)

// A load is what a member does with its share.
type load struct {
	inFlight int  // permits
	waiting  int  // callers
	inUse    int  // connections of the server, idle ones included
	stopped  bool // the gate is closed
}

// A user is who uses the share of a member: a DB, or a model of one in a test.
type user interface {
	// load returns what the user needs now.
	load() load

	// use has the user use at most n connections, until another call or until
	// then. It may have more for as long as statements last.
	use(n int, until time.Time)
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
	kick   chan struct{} // somebody waits, or the member is to leave
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
	target   int
	fits     bool // the demands of all fit the budget
	view     View
	failures int // heartbeats in a row
	stats    Stats
	short    int // heartbeats in a row that asked for more than there was
}

func newMember(store Store, u user, config Config) *member {
	return &member{config: config, store: store, user: u, kick: make(chan struct{}, 1), key: newKey(), fits: true}
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
	var last, due time.Time // of heartbeats; due is zero if only a caller makes one necessary
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
			if wait := edgeInterval - time.Since(last); wait > 0 {
				due = time.Now().Add(wait)
				timer.Reset(wait)
				continue
			}
		}
		if l := m.user.load(); l.stopped && l.inUse == 0 {
			return // the row expires
		}
		last = time.Now()
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
	return l.waiting > 0 && l.inUse >= m.effective(time.Now()) && !limited && m.short == 0 && m.failures == 0
}

// mayBeAsked reports whether others could use what the member does not.
func (m *member) mayBeAsked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.fits && m.limit > m.config.Min
}

// hasSurplus reports whether the member has had much more than it needed for two
// looks while others have too little, so that it should not keep that until the next
// heartbeat. It is a look, and asks nobody.
func (m *member) hasSurplus() bool {
	if !m.mayBeAsked() {
		return false
	}
	l := m.user.load()
	needs := l.inFlight + l.waiting
	m.mu.Lock()
	defer m.mu.Unlock()
	lately := max(needs, m.seen)
	m.seen = needs
	return m.limit-max(lately, m.config.Min) > m.limit/4
}

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
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	view, err := m.store.Read(ctx)
	if err != nil {
		return m.failed(err)
	}
	h, interval := m.prepare(view)
	sent := time.Now()
	reply, err := m.store.Write(ctx, h)
	if err != nil {
		return m.failed(err)
	}
	return m.answered(h, reply, sent, interval)
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

// interval is the time between heartbeats of a fleet of so many active members, and
// how long a row is good.
func interval(members int) (between, ttl time.Duration) {
	h := min(max(float64(members)/perSecond, 1), 10)
	ttl = time.Duration(max(10, 3*h) * float64(time.Second))
	h *= 0.9 + 0.2*mathrand.Float64()
	return time.Duration(h * float64(time.Second)), ttl
}

// prepare lowers the limit to what is fair, and returns what to tell the store.
func (m *member) prepare(v View) (Heartbeat, time.Duration) {
	l := m.user.load()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	between, ttl := interval(active(v))
	m.view = v
	needs := l.inFlight + l.waiting
	m.smooth(float64(needs), now, between)
	m.seen = needs
	budget := m.config.Budget
	if v.Budget > 0 {
		budget = min(budget, v.Budget)
	}
	own := claim{m.demand, float64(m.config.Min), m.config.Weight}
	m.target, m.fits = fair(v, m.key, own, budget, m.limit)
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

// smooth lets the demand rise at once and fall by half in an interval; in an
// edgeInterval if others could use what the member does not need. It is called with
// m.mu held.
func (m *member) smooth(demand float64, now time.Time, between time.Duration) {
	if !m.fits {
		between = edgeInterval
	}
	decayed := m.demand
	if !m.demandAt.IsZero() {
		decayed *= math.Exp2(-float64(now.Sub(m.demandAt)) / float64(between))
	}
	if decayed < 0.05 {
		decayed = 0
	}
	m.demand, m.demandAt = max(demand, decayed), now
}

func (m *member) failed(err error) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures++
	m.stats.Failures++
	m.stats.LastError = err
	if now := time.Now(); m.effective(now) == 0 { // the gate knows; its idle connections do not
		m.limit, m.deadline = 0, time.Time{}
		m.apply()
	}
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
		m.apply()
		return time.Millisecond
	case Late:
		return edgeInterval
	}
	m.tokens = []int64{h.Token}
	m.limit, m.grant = r.Limit, r.Grant
	m.deadline = sent.Add(time.Duration(h.Seconds*float64(time.Second)) - margin)
	m.apply()
	switch {
	case (m.limit < m.target || m.limit == 0) && l.waiting > 0:
		m.short++
		return min(between, edgeInterval*time.Duration(1<<min(m.short, 5)))
	case !m.fits && l.inUse <= m.limit && m.limit < m.grant: // others wait for what is not used any more
		return edgeInterval
	}
	m.short = 0
	if m.limit == 0 && m.demand == 0 && l.inUse == 0 && m.config.Min == 0 {
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

// leave stops admission, waits until nothing is in use, and gives the share back.
func (m *member) leave(ctx context.Context) error {
	m.mu.Lock()
	m.limit, m.deadline = 0, time.Time{}
	m.apply()
	m.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for m.user.load().inUse > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return m.store.Leave(ctx, m.name())
}

func (m *member) name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.key
}

func (m *member) snapshot() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Share = m.effective(time.Now())
	s.Target, s.Demand = m.target, m.demand
	s.Members, s.Active, s.Budget = len(m.view.Members), active(m.view), m.config.Budget
	if m.view.Budget > 0 {
		s.Budget = min(s.Budget, m.view.Budget)
	}
	return s
}
