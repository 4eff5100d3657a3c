package scale

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/fleet"
)

// idleSessionTimeout has the server close connections that a process which is
// stopped cannot close: before its lease ends for the others, after 10 seconds.
const idleSessionTimeout = "7s"

// A run is one that goes on.
type run struct {
	config Config
	random *rand.Rand
	server *pgserver.Server
	dsn    string // of the members
	began  time.Time

	processes []*process // all that were ever started; only the goroutine of stages changes them
	wanted    []*process // of these, those that should be there
	resuming  []pause

	mu     sync.Mutex // guards what follows, and processes where they are changed or sampled
	result *Result
}

// A pause is that of a process that is stopped.
type pause struct {
	of  *process
	end time.Time
}

// open starts the server, and prepares it.
func (r *run) open(ctx context.Context) (err error) {
	if r.server, err = pgserver.Start(ctx, pgserver.Config{MaxConnections: r.result.MaxConnections}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.server.Close()
		}
	}()
	if r.server.External() {
		return fmt.Errorf("scale: it needs a server of its own: unset %s", pgserver.EnvDSN)
	}
	members, err := url.Parse(r.server.DSN())
	if err != nil {
		return err
	}
	members.User = url.User("member") // not a superuser, whom the server keeps connections for
	r.dsn = members.String()
	conn, err := pgx.Connect(ctx, r.server.DSN())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	version := 0
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('server_version_num')::int").Scan(&r.result.Server, &version)
	if err != nil {
		return err
	}
	statements := "CREATE ROLE member LOGIN;" + fleet.Setup(fleet.DefaultSchema) +
		"GRANT USAGE ON SCHEMA " + fleet.DefaultSchema + " TO member;" +
		// There can be no members yet, so the store need not wait for them.
		"INSERT INTO " + fleet.DefaultSchema + ".fleet_v1 VALUES ('" + fleetName + "', 0, now(), 0, left(pg_walfile_name(pg_current_wal_lsn()), 8));"
	if version >= 140000 {
		statements += "ALTER ROLE member SET idle_session_timeout = '" + idleSessionTimeout + "'"
	}
	if _, err = conn.Exec(ctx, statements); err == nil && r.config.Through != nil {
		r.dsn, err = r.config.Through(r.dsn)
	}
	return err
}

// close ends all processes and the server.
func (r *run) close() error {
	for _, p := range r.processes {
		p.kill()
	}
	return r.server.Close()
}

// start starts a process.
func (r *run) start(a assignment) (*process, error) {
	a.DSN, a.Driver, a.Hold = r.dsn, r.config.Driver, r.config.Hold
	p, err := start(r.config.Command, len(r.processes), a)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes = append(r.processes, p)
	r.wanted = append(r.wanted, p)
	return p, nil
}

// member starts a process as the configuration has it. Its load is between half
// of what would take the budget and all of it.
func (r *run) member() error {
	a := assignment{Limit: r.config.Limit, Callers: r.config.Budget/2 + 1 + r.random.IntN(r.config.Budget/2+1)}
	if !r.config.Without {
		a.Budget, a.Limit = r.config.Budget, r.config.Budget
	}
	_, err := r.start(a)
	return err
}

// alone measures one process that has the whole budget.
func (r *run) alone(ctx context.Context) error {
	r.config.Progress("one process alone")
	p, err := r.start(assignment{Limit: r.config.Budget, Callers: 2 * r.config.Budget})
	if err != nil {
		return err
	}
	if err := r.wait(ctx, func() bool { last, _ := p.state(); return last.Done > 0 }, r.config.Patience); err != nil {
		return err
	}
	if err := sleep(ctx, r.config.Step/4); err != nil {
		return err
	}
	first, _ := p.state()
	if err := sleep(ctx, r.config.Step/2); err != nil {
		return err
	}
	last, _ := p.state()
	if d := last.Time.Sub(first.Time); d > 0 {
		r.result.Alone = float64(last.Done-first.Done) / d.Seconds()
	}
	p.leave()
	err = r.wait(ctx, func() bool { return hasEnded(p) }, r.config.Patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes, r.wanted = nil, nil
	return err
}

func hasEnded(p *process) bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stages does all stages.
func (r *run) stages(ctx context.Context) error {
	c := r.config
	grow := func(n int) error {
		for len(r.wanted) < n {
			if err := r.member(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := r.stage(ctx, fmt.Sprintf("%d processes", c.Few), false, func() error { return grow(c.Few) }); err != nil {
		return err
	}
	if err := r.stage(ctx, fmt.Sprintf("%d processes", c.Many), c.Chaos, func() error { return grow(c.Many) }); err != nil {
		return err
	}
	old := len(r.wanted)
	if err := r.stage(ctx, fmt.Sprintf("rollout, %d more", c.Many), false, func() error { return grow(old + c.Many) }); err != nil {
		return err
	}
	if err := r.stage(ctx, fmt.Sprintf("the old %d leave", old), false, func() error { return r.shrink(ctx, r.wanted[:old]) }); err != nil {
		return err
	}
	err := r.stage(ctx, fmt.Sprintf("%d processes", c.Fewer), c.Chaos, func() error { return r.shrink(ctx, r.wanted[:len(r.wanted)-c.Fewer]) })
	if err != nil {
		return err
	}
	r.event("all leave")
	return r.shrink(ctx, r.wanted)
}

// stage changes the number of processes, lets them work for a step, and waits until
// each has done something.
func (r *run) stage(ctx context.Context, name string, restart bool, change func() error) error {
	r.event(name)
	s := Stage{Name: name, From: r.seconds()}
	before := r.errors()
	if err := change(); err != nil {
		return err
	}
	s.Processes = len(r.wanted)
	had := map[*process]uint64{}
	for _, p := range r.wanted {
		last, _ := p.state()
		had[p] = last.Done
	}
	if err := r.work(ctx, r.config.Step/2); err != nil {
		return err
	}
	if restart {
		r.event("the server restarts")
		if err := r.server.Restart(ctx); err != nil {
			return err
		}
	}
	done, since := r.done(), time.Now()
	if err := r.work(ctx, r.config.Step/2); err != nil {
		return err
	}
	s.PerSecond = float64(r.done()-done) / time.Since(since).Seconds()
	if err := r.resume(time.Time{}); err != nil {
		return err
	}
	idle := func() (idle []string) {
		for _, p := range r.wanted {
			if last, _ := p.state(); last.Done <= had[p] {
				idle = append(idle, fmt.Sprintf("process %d in stage %q", p.number, name))
			}
		}
		return idle
	}
	patience := r.config.Patience
	if r.config.Without {
		patience = 0
	}
	if err := r.wait(ctx, func() bool { return len(idle()) == 0 }, patience); ctx.Err() != nil {
		return err
	}
	s.To = r.seconds()
	after := r.errors()
	for k, n := range after {
		if after[k] = n - before[k]; after[k] == 0 {
			delete(after, k)
		}
	}
	s.Errors = after
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sample := range r.result.Samples {
		if sample.Seconds >= s.From && sample.Seconds <= s.To {
			s.Highest = max(s.Highest, sample.Connections)
		}
	}
	r.result.Starved = append(r.result.Starved, idle()...)
	r.result.Stages = append(r.result.Stages, s)
	return nil
}

// work lets the processes work, and sends them faults if that is configured.
func (r *run) work(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	fault := func() time.Time {
		return time.Now().Add(time.Duration((0.2 + r.random.Float64()) * float64(r.config.Step) / 5))
	}
	next := fault()
	for time.Now().Before(end) {
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if err := r.resume(time.Now()); err != nil {
			return err
		}
		if !r.config.Chaos || time.Now().Before(next) {
			continue
		}
		if err := r.fault(); err != nil {
			return err
		}
		next = fault()
	}
	return nil
}

// fault kills a process, which another one replaces, or stops it.
func (r *run) fault() error {
	i := r.random.IntN(len(r.wanted))
	p := r.wanted[i]
	if _, stopped := p.state(); stopped {
		return nil
	}
	if r.random.IntN(2) == 0 {
		r.event(fmt.Sprintf("process %d is killed", p.number))
		p.kill()
		r.mu.Lock()
		r.wanted = slices.Delete(r.wanted, i, i+1)
		r.mu.Unlock()
		return r.member()
	}
	d := time.Duration(r.random.Float64() * float64(r.config.Longest))
	r.event(fmt.Sprintf("process %d is stopped for %v", p.number, d.Round(time.Millisecond)))
	r.resuming = append(r.resuming, pause{p, time.Now().Add(d)})
	return p.stop()
}

// resume continues the processes whose pause is over; all if now is zero.
func (r *run) resume(now time.Time) (err error) {
	r.resuming = slices.DeleteFunc(r.resuming, func(s pause) bool {
		if !now.IsZero() && now.Before(s.end) {
			return false
		}
		if !hasEnded(s.of) {
			err = s.of.resume()
			r.event(fmt.Sprintf("process %d continues", s.of.number))
		}
		return true
	})
	return err
}

// shrink has processes leave, and waits until they have.
func (r *run) shrink(ctx context.Context, leaving []*process) error {
	if err := r.resume(time.Time{}); err != nil {
		return err
	}
	leaving = slices.Clone(leaving)
	r.mu.Lock()
	r.wanted = slices.DeleteFunc(r.wanted, func(p *process) bool { return slices.Contains(leaving, p) })
	r.mu.Unlock()
	for _, p := range leaving {
		p.leave()
	}
	return r.wait(ctx, func() bool {
		return !slices.ContainsFunc(leaving, func(p *process) bool { return !hasEnded(p) })
	}, r.config.Patience)
}

// wait waits until condition holds.
func (r *run) wait(ctx context.Context, condition func() bool, patience time.Duration) error {
	for end := time.Now().Add(patience); !condition(); {
		if time.Now().After(end) {
			return fmt.Errorf("scale: the processes are not ready after %v", patience)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (r *run) seconds() float64 { return time.Since(r.began).Seconds() }

func (r *run) event(what string) {
	r.config.Progress(what)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Events = append(r.result.Events, Event{r.seconds(), what})
}

// done returns how many statements all processes have done.
func (r *run) done() (n uint64) {
	for _, p := range r.processes {
		last, _ := p.state()
		n += last.Done
	}
	return n
}

// errors returns the errors of all processes by their kinds.
func (r *run) errors() map[string]uint64 {
	all := map[string]uint64{}
	for _, p := range r.processes {
		last, _ := p.state()
		for k, n := range last.Errors {
			all[k] += n
		}
	}
	return all
}

// sample looks at the server and the processes until ctx ends.
func (r *run) sample(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		s := Sample{Seconds: r.seconds(), Connections: -1, Shares: map[int]int{}}
		var err error
		if conn == nil {
			if conn, err = pgx.Connect(ctx, r.server.DSN()); err != nil {
				conn = nil
			}
		}
		if conn != nil {
			err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'member'").Scan(&s.Connections)
			if err != nil {
				conn.Close(ctx)
				conn, s.Connections = nil, -1
			}
		}
		r.mu.Lock()
		for _, p := range r.processes {
			if last, _ := p.state(); !hasEnded(p) {
				s.Shares[p.number] = last.Share
			}
		}
		r.result.Samples = append(r.result.Samples, s)
		r.result.Highest = max(r.result.Highest, s.Connections)
		r.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// finish sums up.
func (r *run) finish() {
	maps.Copy(r.result.Errors, r.errors())
	for _, p := range r.processes {
		if err := p.failure(); err != nil {
			r.result.Failed = append(r.result.Failed, err.Error())
		}
	}
}
