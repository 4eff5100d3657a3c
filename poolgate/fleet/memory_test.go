package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// memory is a Store for one process, with faults.
type memory struct {
	mu         sync.Mutex
	rows       map[string]*memoryRow
	tick       float64
	last       time.Time
	known      bool
	learnUntil float64
	down       bool
	step       time.Duration // of its wall clock
	lose       func() (request, reply bool)
	delay      func() time.Duration
	calls      int // of Read and Write
}

type memoryRow struct {
	Member
	token  int64
	expiry float64
}

func newMemory() *memory { return &memory{rows: map[string]*memoryRow{}} }

var errDown = errors.New("the store is down")

func (s *memory) wait(calls int) {
	s.mu.Lock()
	s.calls += calls
	delay := s.delay
	s.mu.Unlock()
	if delay != nil {
		time.Sleep(delay())
	}
}

func (s *memory) Read(ctx context.Context) (View, error) {
	s.wait(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return View{}, errDown
	}
	v := View{Tick: s.tick}
	for _, r := range s.rows {
		v.Members = append(v.Members, r.Member)
		if v.Budget == 0 || r.Budget < v.Budget {
			v.Budget = r.Budget
		}
	}
	return v, ctx.Err()
}

func (s *memory) Write(ctx context.Context, h Heartbeat) (Reply, error) {
	s.wait(1)
	lost, silent := false, false
	s.mu.Lock()
	lose := s.lose
	s.mu.Unlock()
	if lose != nil {
		lost, silent = lose()
	}
	if lost {
		time.Sleep(storeTimeout)
		return Reply{}, context.DeadlineExceeded
	}
	r, err := s.write(h)
	s.wait(0)
	if silent {
		time.Sleep(storeTimeout)
		return Reply{}, context.DeadlineExceeded
	}
	if err == nil {
		err = ctx.Err()
	}
	return r, err
}

func (s *memory) write(h Heartbeat) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return Reply{}, errDown
	}
	now := time.Now().Add(s.step)
	if s.known {
		s.tick += min(max(now.Sub(s.last).Seconds(), 0), maxTick)
	} else {
		s.known = true
		s.learnUntil = s.tick + maxTTL
	}
	s.last = now
	for key, r := range s.rows {
		if r.expiry < s.tick {
			delete(s.rows, key)
		}
	}
	me := s.rows[h.Key]
	switch {
	case me != nil && !slices.Contains(h.Tokens, me.token):
		return Reply{Status: Duplicate}, nil
	case me != nil && me.Seq >= h.Seq:
		return Reply{Status: Late}, nil
	}
	budget, others := h.Budget, 0
	for key, r := range s.rows {
		if key != h.Key {
			others += r.Grant
			budget = min(budget, r.Budget)
		}
	}
	kept := 0
	if me != nil {
		kept = h.Limit
	}
	limit := max(kept, min(h.Target, budget-others), 0)
	if s.tick < s.learnUntil {
		limit = h.Limit
	}
	s.rows[h.Key] = &memoryRow{
		Member: Member{h.Key, h.Seq, h.Demand, max(limit, h.InUse), h.Min, h.Weight, h.Budget},
		token:  h.Token,
		expiry: s.tick + h.Seconds,
	}
	return Reply{Limit: limit, Grant: max(limit, h.InUse)}, nil
}

func (s *memory) Leave(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	delete(s.rows, key)
	return nil
}
