package gather

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/poolgate/poolgate/internal/delivery"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A pipeline runs the statements of a gather in rounds. In each, every statement
// asks for one query, or ends; then all queries are sent at once, and the
// statements go on with their results, one after the other.
type pipeline struct {
	g       *gathering
	t       *transaction
	deliver *sql.DB // makes *sql.Rows

	// ctx is of what is sent. It ends with the caller's, or a moment after the
	// gather was stopped: the server may be about to finish anyway.
	ctx    context.Context
	cancel context.CancelFunc

	lost         int   // the connections that were, before anything was sent
	begun, ended bool  // the transaction
	savepoint    bool  // there is one
	broken       error // why no more statements can be executed

	mu     sync.Mutex // guards what follows, and the parts
	turn   sync.Cond  // active is zero
	active int        // the statements that run: they do not wait for an answer
	flying bool       // a round was sent, or is about to be
	asks   []*ask     // for the next round
}

// A part is the database as one statement of a pipeline sees it.
type part struct {
	p       *pipeline
	i       int
	once    bool // it asks once, and is one of the package's own
	pending *ask // not answered yet
	open    *turnRows
	ended   bool
}

// An ask is a query that waits for its round.
type ask struct {
	part   *part
	ctx    context.Context
	query  string
	args   []driver.NamedValue
	exec   bool
	answer chan answer
	given  bool // up: the statement waits no longer
}

// pipelined runs the statements in one transaction, with as few round trips as
// they allow. It takes its permit when they have asked for something: what they
// do before does not need one.
func (g *gathering) pipelined() {
	if g.options.OrSerial {
		switch ok, err := g.canPipeline(); {
		case err != nil:
			g.fail(err)
			return
		case !ok:
			g.serial(begins(g.options.ReadWrite))
			return
		}
	}
	p := &pipeline{g: g, t: &transaction{g: g}, deliver: delivery.Open()}
	defer p.deliver.Close()
	p.turn.L = &p.mu
	p.ctx, p.cancel = context.WithCancel(g.caller)
	p.t.ctx, p.t.cancel = p.ctx, p.cancel
	defer p.cancel()
	defer context.AfterFunc(g.ctx, func() { time.AfterFunc(drainTime, p.cancel) })()
	returned := false
	defer func() {
		if !returned { // the driver or an observer panics, and statements wait
			g.cancel()
		}
		p.end()
	}()
	for p.start() {
		for p.round() {
		}
	}
	returned = true
}

// canPipeline reports whether the connections have a pipeline.
func (g *gathering) canPipeline() (bool, error) {
	conn, err := g.db.Conn(g.ctx)
	if err != nil {
		return false, fmt.Errorf("gather: no connection: %w", err)
	}
	defer conn.Close()
	err = poolgate.CanPipeline(conn)
	if errors.Is(err, poolgate.ErrNoPipeline) {
		return false, nil
	}
	return err == nil, err
}

func begins(readWrite bool) string {
	if readWrite {
		return beginSerial
	}
	return beginSnapshot
}

// connect takes a permit and a connection.
func (p *pipeline) connect() error {
	for try := 1; ; try++ {
		conn, err := p.g.db.Conn(p.g.ctx)
		if err != nil {
			return fmt.Errorf("gather: no connection: %w", err)
		}
		switch err = poolgate.CanPipeline(conn); {
		case err == nil:
			p.t.conn = conn
			return nil
		case err == driver.ErrBadConn && try < 3:
			conn.Close()
			continue
		case errors.Is(err, poolgate.ErrNoPipeline):
			err = fmt.Errorf("gather: Pipelined needs pgxgate, or Options.OrSerial: %w", err)
		}
		conn.Close()
		return err
	}
}

// start begins as many statements as are sent at once, and reports whether there
// are any.
func (p *pipeline) start() bool {
	n := 0
	for range p.g.workers {
		i, ok := p.g.take()
		if !ok {
			break
		}
		n++
		p.mu.Lock()
		p.active++
		p.mu.Unlock()
		p.g.spawn(func() {
			s := &part{p: p, i: i}
			defer s.leave()
			p.g.end(i, p.g.statement(p.g.ctx, s, i))
		})
	}
	return n > 0
}

// rest waits until no statement runs: each waits for an answer, or has ended.
func (p *pipeline) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.active > 0 {
		p.turn.Wait()
	}
}

// round sends what the statements ask for, and reports whether they did.
func (p *pipeline) round() bool {
	p.rest()
	p.mu.Lock()
	asks := slices.DeleteFunc(p.asks, func(a *ask) bool { return a.given })
	p.asks, p.flying = nil, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.flying = false
		p.mu.Unlock()
	}()
	if p.broken == nil && p.g.over() {
		p.broken = context.Cause(p.g.ctx)
	}
	slices.SortFunc(asks, func(a, b *ask) int { return cmp.Compare(a.part.i, b.part.i) })
	round := asks
	if len(asks) > 0 && p.t.conn == nil && p.broken == nil {
		if p.broken = p.connect(); p.broken != nil {
			p.g.fail(p.broken)
		}
	}
	for len(asks) > 0 && p.broken == nil {
		asks = p.send(asks)
	}
	for _, a := range asks {
		p.reply(a, answer{err: fmt.Errorf("gather: not executed: %w", p.broken)})
		p.rest()
	}
	return len(round) > 0
}

// send sends asks, has them answered in order, and returns those that were not
// executed since one before them failed. If that was the end of the transaction,
// p.broken says why.
func (p *pipeline) send(asks []*ask) (left []*ask) {
	statements, owners := p.statements(asks)
	next := 0 // of asks
	err := poolgate.SendPipeline(p.ctx, p.t.conn, poolgate.Pipeline{Statements: statements, Harmless: true},
		func(results poolgate.PipelineResults, own func()) error {
			for i, a := range owners {
				if a == nil {
					if _, err := results.Exec(); err != nil {
						return err
					}
					p.sent(statements[i].Query)
					continue
				}
				next++
				if err := p.answer(a, results, own); err != nil {
					return err
				}
				if p.g.over() {
					return nil
				}
			}
			return nil
		})
	if next == len(asks) && err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*poolgate.PipelineError](err); ok && owners[refused.Index] != nil {
		// Nothing was executed.
		k := slices.Index(asks, owners[refused.Index])
		p.reply(asks[k], answer{err: refused.Err})
		p.rest()
		left, err = slices.Delete(asks, k, k+1), refused.Err
		if !p.begun && p.g.options.AllErrors {
			return left
		}
	} else {
		left = asks[next:]
	}
	switch {
	case err == nil:
		p.broken = context.Cause(p.g.ctx) // the gather was stopped
		return left
	case err == driver.ErrBadConn && !p.begun && p.lost < 3:
		if err = p.connect(); err == nil {
			p.lost++
			return left
		}
	case p.savepoint && p.ctx.Err() == nil:
		if _, lost := p.t.conn.ExecContext(p.ctx, "ROLLBACK TO SAVEPOINT poolgate_gather"); lost == nil {
			return left
		}
	}
	p.broken = err
	return left
}

// statements returns what is to be sent for asks, and which ask each is for, or
// nil.
func (p *pipeline) statements(asks []*ask) (all []poolgate.PipelineStatement, owners []*ask) {
	add := func(a *ask, s poolgate.PipelineStatement) {
		all, owners = append(all, s), append(owners, a)
	}
	control := func(query string) { add(nil, poolgate.PipelineStatement{Query: query, Control: true}) }
	if !p.begun {
		control(begins(p.g.options.ReadWrite))
	}
	final := !p.g.options.ReadWrite && !p.g.more()
	savepoint := p.savepoint
	for _, a := range asks {
		if p.g.options.AllErrors {
			if savepoint {
				control(releaseSavepoint)
			}
			control(newSavepoint)
			savepoint = true
		}
		add(a, poolgate.PipelineStatement{Query: a.query, Args: a.args})
		final = final && a.part.once
	}
	if final {
		control("COMMIT")
	}
	return all, owners
}

const (
	newSavepoint     = "SAVEPOINT poolgate_gather"
	releaseSavepoint = "RELEASE SAVEPOINT poolgate_gather"
)

// sent notes that the server has executed a statement of the pipeline's own.
func (p *pipeline) sent(query string) {
	switch query {
	case newSavepoint:
		p.savepoint = true
	case releaseSavepoint:
		p.savepoint = false
	case "COMMIT":
		p.ended = true
	default:
		p.begun = true
	}
}

// answer gives a its result, and waits until its statement is done with it. It
// returns the error of the server, and no other.
func (p *pipeline) answer(a *ask, results poolgate.PipelineResults, own func()) error {
	if a.exec {
		result, err := results.Exec()
		p.reply(a, answer{result: result, err: err, own: own})
		p.rest()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		p.reply(a, answer{err: err, own: own})
		p.rest()
		return err
	}
	given := &turnRows{Rows: rows, ctx: a.ctx, stop: func() bool { return true }}
	if a.ctx != p.g.ctx {
		given.stop = context.AfterFunc(a.ctx, p.cancel)
	}
	if p.reply(a, answer{rows: given, own: own}) {
		p.rest()
	}
	return given.end()
}

// reply lets the statement of a go on with its answer, and reports whether it
// still waits for one.
func (p *pipeline) reply(a *ask, with answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.given {
		return false
	}
	a.part.pending, a.part.open = nil, with.rows
	p.active++
	a.answer <- with
	return true
}

// end commits or rolls back, and gives the connection back.
func (p *pipeline) end() {
	p.g.running.Wait() // a statement may use the connection to its end
	switch {
	case p.t.conn == nil:
	case p.ended || !p.begun && p.broken == nil:
		p.t.release()
	case !p.g.whole() || !p.g.options.ReadWrite: // the caller that asked got p.broken
		p.t.rollback()
	default:
		if err := p.t.commit(p.broken); err != nil {
			p.g.fail(err)
			p.t.rollback()
		}
	}
}

// leave notes that the statement has ended.
func (s *part) leave() {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	s.ended = true
	if s.pending == nil {
		p.active--
	} else { // a goroutine of its own still waits
		s.pending.given = true
		s.pending.answer <- answer{err: sql.ErrConnDone}
	}
	p.turn.Broadcast()
}

// ask waits for the turn of a query.
func (s *part) ask(ctx context.Context, query string, args []any, exec bool) answer {
	a := &ask{part: s, ctx: ctx, query: query, exec: exec, answer: make(chan answer, 1)}
	a.args = make([]driver.NamedValue, len(args))
	for i, arg := range args {
		if named, ok := arg.(sql.NamedArg); ok {
			arg = named.Value
		}
		a.args[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	if err := s.enter(a); err != nil {
		return answer{err: err}
	}
	select {
	case with := <-a.answer:
		if with.own != nil {
			with.own()
		}
		return with
	case <-ctx.Done():
	}
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case with := <-a.answer: // just now
		return with
	default:
	}
	a.given, s.pending = true, nil
	p.active++
	if p.flying && p.g.ctx.Err() == nil { // the statement's own: the server cannot cancel it alone
		p.cancel()
	}
	return answer{err: ctx.Err()}
}

func (s *part) enter(a *ask) error {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.ended:
		return sql.ErrConnDone
	case s.pending != nil || s.open != nil && s.open.isOpen():
		return errOneAtATime
	case a.ctx.Err() != nil:
		return a.ctx.Err()
	}
	s.pending = a
	p.asks = append(p.asks, a)
	p.active--
	p.turn.Broadcast()
	return nil
}

var _ session.DBTX = (*part)(nil)

func (s *part) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	with := s.ask(ctx, query, args, false)
	if with.err != nil {
		return nil, with.err
	}
	return s.p.deliver.QueryContext(context.WithoutCancel(ctx), query, with.delivery())
}

func (s *part) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return s.p.deliver.QueryRowContext(context.WithoutCancel(ctx), query, s.ask(ctx, query, args, false).delivery())
}

func (s *part) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	with := s.ask(ctx, query, args, true)
	if with.err != nil {
		return nil, with.err
	}
	return with.result, nil
}

func (s *part) PrepareContext(context.Context, string) (*sql.Stmt, error) { return nil, errNoPrepare }
