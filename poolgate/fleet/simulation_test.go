package fleet

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A crowd is a fleet in virtual time: members that are the shipped code, on a
// store in memory, with models of databases behind them.
type crowd struct {
	t      *testing.T
	store  *memory
	budget int

	mu     sync.Mutex
	users  []*modelUser
	excess int // the most by which the live limits together exceeded the budget
}

// A modelUser is a DB with open work: so many callers that each take a
// connection for a statement of a random length, one after another.
type modelUser struct {
	c      *crowd
	m      *member
	ctx    context.Context
	cancel context.CancelFunc
	hold   time.Duration

	mu       sync.Mutex
	limit    int
	until    time.Time
	frozen   bool
	callers  int // that want a connection or have one
	inFlight int
	done     int
	first    time.Time // when the first of the present burst got its permit
	since    time.Time // when the burst began
	told     gate.FleetStats
}

func (u *modelUser) load() load {
	u.mu.Lock()
	defer u.mu.Unlock()
	return load{needs: max(u.callers, u.inFlight), waiting: max(0, u.callers-u.inFlight), inUse: u.inFlight}
}

func (u *modelUser) flying() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inFlight
}

func (u *modelUser) effective(now time.Time) int {
	if now.Before(u.until) {
		return u.limit
	}
	return 0
}

func (u *modelUser) use(n int, until time.Time) {
	u.mu.Lock()
	u.limit, u.until = n, until
	u.mu.Unlock()
	u.c.check()
	u.admit()
}

func (u *modelUser) report(s gate.FleetStats) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.told = s
}

func (u *modelUser) stats() gate.FleetStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told
}

// share is what the member may use now.
func (u *modelUser) share() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.effective(time.Now())
}

// admit starts statements while there are permits.
func (u *modelUser) admit() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for now := time.Now(); u.inFlight < u.effective(now) && u.inFlight < u.callers && u.ctx.Err() == nil && !u.frozen; {
		u.inFlight++
		if u.first.IsZero() {
			u.first = now
		}
		d := time.Duration(rand.ExpFloat64() * float64(u.hold))
		time.AfterFunc(d, func() {
			u.mu.Lock()
			u.inFlight--
			u.done++
			u.mu.Unlock()
			u.admit()
		})
	}
}

// want sets how many callers there are.
func (u *modelUser) want(n int) {
	u.mu.Lock()
	u.callers, u.first, u.since = n, time.Time{}, time.Now()
	u.mu.Unlock()
	u.admit()
	if l := u.load(); l.waiting > 0 {
		select {
		case u.m.kick <- struct{}{}:
		default:
		}
	}
}

func newCrowd(t *testing.T, budget int) *crowd {
	return &crowd{t: t, store: newMemory(), budget: budget}
}

func (c *crowd) join(config Config, hold time.Duration) *modelUser {
	config.Budget = c.budget
	return c.joinWith(c.store, config, hold)
}

func (c *crowd) joinWith(store Store, config Config, hold time.Duration) *modelUser {
	config.Name = "f"
	config, err := config.withDefaults()
	if err != nil {
		c.t.Fatal(err)
	}
	u := &modelUser{c: c, hold: hold}
	u.ctx, u.cancel = context.WithCancel(c.t.Context())
	u.m = newMember(store, u, config)
	c.mu.Lock()
	c.users = append(c.users, u)
	c.mu.Unlock()
	go u.m.run(u.ctx)
	return u
}

// check looks at the invariant.
func (c *crowd) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, limits := time.Now(), 0
	for _, u := range c.users {
		u.mu.Lock()
		limits += u.effective(now)
		u.mu.Unlock()
	}
	if over := limits - c.budget; over > c.excess {
		c.excess = over
	}
}

func (c *crowd) verify() {
	c.t.Helper()
	c.check()
	if c.excess > 0 {
		c.t.Errorf("the live limits together exceeded the budget by %d", c.excess)
	}
}

func (c *crowd) stop() {
	for _, u := range c.users {
		u.cancel()
	}
	time.Sleep(3 * storeTimeout) // for messages that are under way
	synctest.Wait()
}

func (c *crowd) inFlight() (all int) {
	for _, u := range c.users {
		all += u.flying()
	}
	return all
}

// learnt has the store know that it has seen all there are.
func (c *crowd) learnt() {
	c.store.write(Heartbeat{Key: "nobody", Seq: 1, Weight: 1, Budget: c.budget})
	c.store.mu.Lock()
	c.store.tick += maxTTL + 1
	c.store.mu.Unlock()
}

// A line is a member's way to the store.
type line struct {
	Store
	mu     sync.Mutex
	frozen chan struct{} // closed when it may go on; nil if it may
	cut    bool
	again  atomic.Bool // a Write is delivered a second time, seconds later
}

func (l *line) pass() error {
	l.mu.Lock()
	frozen, cut := l.frozen, l.cut
	l.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	if cut {
		time.Sleep(storeTimeout)
		return context.DeadlineExceeded
	}
	return nil
}

func (l *line) Read(ctx context.Context) (View, error) {
	if err := l.pass(); err != nil {
		return View{}, err
	}
	return l.Store.Read(ctx)
}

func (l *line) Write(ctx context.Context, h Heartbeat) (Reply, error) {
	if err := l.pass(); err != nil {
		return Reply{}, err
	}
	if l.again.Load() {
		copied := h
		copied.Tokens = append([]int64(nil), h.Tokens...)
		time.AfterFunc(time.Duration(rand.IntN(20000))*time.Millisecond, func() { l.Store.(*memory).write(copied) })
	}
	r, err := l.Store.Write(ctx, h)
	if frozen := l.pass(); frozen != nil { // it was stopped while it waited for the answer
		return Reply{}, frozen
	}
	return r, err
}

func (l *line) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = make(chan struct{})
}

func (l *line) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.frozen)
	l.frozen = nil
}

// crash ends the process of a member, whose statements the server ends at once.
func (u *modelUser) crash() {
	u.cancel()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.limit, u.callers = 0, 0
}

var largest = flag.Int("members", 10, "the most members of a fleet in TestFaults")

// TestFaults runs fleets through what can go wrong. The live limits together
// never exceed the budget, and every member that wants something gets something
// when it is over.
func TestFaults(t *testing.T) {
	const budget = 200
	for _, fault := range []struct {
		name   string
		during func(t *testing.T, c *crowd, lines []*line)
	}{
		{"none", func(*testing.T, *crowd, []*line) { time.Sleep(time.Minute) }},
		{"members crash", func(t *testing.T, c *crowd, lines []*line) {
			for range 10 {
				for i, u := range c.users {
					if i%2 == 1 && rand.IntN(3) == 0 {
						u.crash()
					}
				}
				time.Sleep(5 * time.Second)
			}
		}},
		{"members are stopped and continued", func(t *testing.T, c *crowd, lines []*line) {
			for range 6 {
				var stopped []int
				for i := range lines {
					if rand.IntN(3) == 0 {
						stopped = append(stopped, i)
						lines[i].freeze()
						c.users[i].freeze(true)
					}
				}
				time.Sleep(time.Duration(rand.IntN(40)) * time.Second)
				for _, i := range stopped {
					c.users[i].freeze(false)
					lines[i].thaw()
				}
				time.Sleep(time.Duration(rand.IntN(10)) * time.Second)
			}
		}},
		{"members are cut off from the store", func(t *testing.T, c *crowd, lines []*line) {
			for range 6 {
				for _, l := range lines {
					l.mu.Lock()
					l.cut = rand.IntN(3) == 0
					l.mu.Unlock()
				}
				time.Sleep(time.Duration(rand.IntN(40)) * time.Second)
			}
			for _, l := range lines {
				l.mu.Lock()
				l.cut = false
				l.mu.Unlock()
			}
		}},
		{"messages are lost", func(t *testing.T, c *crowd, lines []*line) {
			c.store.set(func(s *memory) { s.lose = func() (bool, bool) { return rand.IntN(5) == 0, rand.IntN(5) == 0 } })
			time.Sleep(2 * time.Minute)
			c.store.set(func(s *memory) { s.lose = nil })
		}},
		{"messages are slow", func(t *testing.T, c *crowd, lines []*line) {
			c.store.set(func(s *memory) {
				s.delay = func() time.Duration { return time.Duration(rand.IntN(700)) * time.Millisecond }
			})
			time.Sleep(2 * time.Minute)
			c.store.set(func(s *memory) { s.delay = nil })
		}},
		{"messages arrive a second time", func(t *testing.T, c *crowd, lines []*line) {
			for _, l := range lines {
				l.again.Store(true)
			}
			time.Sleep(2 * time.Minute)
			for _, l := range lines {
				l.again.Store(false)
			}
		}},
		{"the store is away for a minute", func(t *testing.T, c *crowd, lines []*line) {
			c.store.set(func(s *memory) { s.down = true })
			time.Sleep(time.Minute)
			if n := c.inFlight(); n > 0 {
				t.Errorf("%d statements are in flight without a lease", n)
			}
			c.store.set(func(s *memory) { s.down = false })
		}},
		{"the store is emptied", func(t *testing.T, c *crowd, lines []*line) {
			for range 3 {
				c.store.set(func(s *memory) { s.rows, s.known = map[string]*memoryRow{}, false })
				time.Sleep(20 * time.Second)
			}
		}},
		{"the store's clock steps", func(t *testing.T, c *crowd, lines []*line) {
			for _, step := range []time.Duration{time.Hour, -time.Hour, time.Minute, 0, 24 * time.Hour} {
				c.store.set(func(s *memory) { s.step = step })
				time.Sleep(10 * time.Second)
			}
		}},
		{"members have one key", func(t *testing.T, c *crowd, lines []*line) {
			c.users[0].m.mu.Lock()
			same := c.users[0].m.key
			c.users[0].m.mu.Unlock()
			for i, u := range c.users {
				if i%3 == 0 {
					u.m.mu.Lock()
					u.m.key = same
					u.m.mu.Unlock()
				}
			}
			time.Sleep(30 * time.Second)
		}},
		{"a member announces a lower budget", func(t *testing.T, c *crowd, lines []*line) {
			low := c.joinWith(lines[0].Store, Config{Budget: 100}, 100*time.Millisecond)
			low.want(10)
			time.Sleep(40 * time.Second)
			if n := c.inFlight(); n > 105 {
				t.Errorf("%d are in flight, of the 100 that one announces", n)
			}
			low.crash()
		}},
	} {
		for _, members := range []int{10, 100, 1000} {
			t.Run(fmt.Sprintf("%s, members=%d", fault.name, members), func(t *testing.T) {
				if members > *largest {
					t.Skip("see -members")
				}
				synctest.Test(t, func(t *testing.T) {
					c := newCrowd(t, budget)
					defer c.stop()
					c.learnt()
					var lines []*line
					for range members {
						l := &line{Store: c.store}
						lines = append(lines, l)
						c.joinWith(l, Config{Budget: budget}, 100*time.Millisecond).want(1 + rand.IntN(max(2, 800/members)))
					}
					time.Sleep(10 * time.Second)
					fault.during(t, c, lines)
					for i, u := range c.users { // those that are alive do something new
						if u.ctx.Err() == nil && i < members {
							u.want(1 + rand.IntN(max(2, 800/members)))
							u.reset()
						}
					}
					time.Sleep(90 * time.Second)
					for i, u := range c.users {
						if u.ctx.Err() == nil && i < members && u.completed() == 0 {
							t.Errorf("member %d starves with a share of %d: %+v", i, u.share(), u.stats())
						}
					}
					c.verify()
				})
			})
		}
	}
}

func (s *memory) set(f func(*memory)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (u *modelUser) freeze(frozen bool) {
	u.mu.Lock()
	u.frozen = frozen
	u.mu.Unlock()
	u.c.check()
	u.admit()
}

func (u *modelUser) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = 0
}

func (u *modelUser) completed() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done
}

func TestCrowd(t *testing.T) {
	for _, members := range []int{10, 100, 1000} {
		t.Run(fmt.Sprintf("members=%d", members), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 200)
				defer c.stop()
				c.learnt()
				for range members {
					c.join(Config{}, 100*time.Millisecond)
				}
				time.Sleep(2 * time.Second)
				half := c.users[:members/2]
				for _, u := range half {
					u.want(max(1, 800/len(half)))
				}
				time.Sleep(30 * time.Second)
				t.Logf("half busy: %d in flight, excess %d", c.inFlight(), c.excess)
				burst := c.users[members-1]
				burst.want(50)
				time.Sleep(20 * time.Second)
				first := burst.first.Sub(burst.since)
				t.Logf("a burst of an idle member: first permit after %v, %d in flight", first, burst.flying())
				time.Sleep(20 * time.Second)
				c.verify()
			})
		})
	}
}
