package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/poolgate/poolgate/bench"
)

const refresh = 100 * time.Millisecond

// weight returns about how long a run takes in comparison to others, from which
// the time left is estimated. The weights are seconds for 35,000 operations,
// measured on two cores.
func weight(c bench.Case) int {
	switch {
	case c.Form == bench.Faithful && c.Strategy == bench.Sequential:
		return 90
	case c.Form == bench.Faithful:
		return 40
	case c.Strategy == bench.Sequential:
		return 14
	case c.Strategy == bench.Unbounded:
		return 14
	}
	return 7
}

func pgbenchWeight(c bench.PgbenchCase) int {
	if c.Form == bench.Faithful {
		return 40
	}
	return 6
}

// A progress shows how far the runs are: a bar with the time left on a
// terminal, a line for each run elsewhere.
type progress struct {
	out   io.Writer
	done  *atomic.Int64 // of the run under way
	ops   int           // of each run
	runs  int
	begun int
	name  string
	bar   *progressbar.ProgressBar // nil where out is no terminal

	before  int // weight of the runs that have ended, times ops
	weight  int // of the run under way
	stop    chan struct{}
	stopped chan struct{}
}

func newProgress(out io.Writer, done *atomic.Int64, cases []bench.Case, references []bench.PgbenchCase, ops int) *progress {
	p := &progress{out: out, done: done, ops: ops, runs: len(cases) + len(references)}
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return p
	}
	total := 0
	for _, c := range cases {
		total += weight(c)
	}
	for _, c := range references {
		total += pgbenchWeight(c)
	}
	p.bar = progressbar.NewOptions(total*ops,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetWidth(24),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(refresh),
	)
	return p
}

// begin says that the next run begins.
func (p *progress) begin(name string, weight int) {
	p.begun++
	p.name, p.weight = name, weight
	p.done.Store(0)
	if p.bar == nil {
		return
	}
	p.bar.Describe(fmt.Sprintf("%d/%d %s", p.begun, p.runs, name))
	p.stop, p.stopped = make(chan struct{}), make(chan struct{})
	go p.follow()
}

// follow moves the bar while the run is under way.
func (p *progress) follow() {
	defer close(p.stopped)
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		_ = p.bar.Set(p.before + p.weight*min(int(p.done.Load()), p.ops))
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
	}
}

func (p *progress) unfollow() {
	if p.stop != nil {
		close(p.stop)
		<-p.stopped
		p.stop = nil
	}
}

// end says that the run has ended, and how.
func (p *progress) end(seconds, rate float64, errors int) {
	p.unfollow()
	p.before += p.weight * p.ops
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	failed := ""
	if errors > 0 {
		failed = fmt.Sprintf(", %d failed", errors)
	}
	fmt.Fprintf(p.out, "%d/%d %s: %.1f s, %.0f ops/s%s\n", p.begun, p.runs, p.name, seconds, rate, failed)
}

// close takes the bar away, wherever it stands.
func (p *progress) close() {
	p.unfollow()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
