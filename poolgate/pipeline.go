package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// ErrNoPipeline is the error of a connection that has no pipeline.
var ErrNoPipeline = errors.New("poolgate: the driver has no pipeline")

// A Pipeliner is a connection of a driver that can send many statements before
// it reads the result of the first, so that all of them take one round trip to
// the server. The connections of pgxgate are Pipeliners; lib/pq has none.
// [Raw] finds one behind an *sql.Conn, and [SendPipeline] uses it.
type Pipeliner interface {
	driver.Conn

	// CanPipeline returns nil if SendPipeline works, and otherwise why it does
	// not: a wrapper can be around any driver, and a setting can exclude it. The
	// error matches ErrNoPipeline.
	CanPipeline() error

	// SendPipeline sends p. The connection belongs to the results until they
	// are closed. ctx is for the sending and for all results: if it ends, the
	// server is asked to cancel, and what is read fails.
	//
	// The server executes the statements in order, and none after one that
	// fails. Where no statement of p begins a transaction and none is open,
	// they are one.
	//
	// A pipeline that is large is sent in pieces, each when the results of the
	// one before are read. It is one pipeline all the same.
	//
	// A statement that is new to the connection is prepared first, which takes
	// one more round trip for all of them. If the server refuses one of them, or
	// the driver an argument, the error is a *PipelineError, and nothing was
	// executed. So a statement cannot refer to a table that one before it
	// creates.
	SendPipeline(ctx context.Context, p Pipeline) (PipelineResults, error)
}

// A Pipeline is what [Pipeliner] sends.
type Pipeline struct {
	Statements []PipelineStatement

	// Harmless says that nothing is left undecided if the connection is lost:
	// the statements only read, or write in a transaction that is committed
	// later. Otherwise the error is ErrOutcomeUnknown then.
	Harmless bool
}

// A PipelineStatement is a statement of a [Pipeline].
type PipelineStatement struct {
	Query string
	Args  []driver.NamedValue // as they came, for the driver to encode

	// Control marks a statement of the sender's own that has neither arguments
	// nor rows, such as BEGIN. It is never prepared, and no observer and no
	// page shows it.
	Control bool
}

// PipelineResults are the results of a [Pipeline], in the order of its
// statements. A call of Query or Exec is for the next statement; rows must be
// closed before. After an error nothing was executed by the statements that
// follow.
type PipelineResults interface {
	Query() (driver.Rows, error)
	Exec() (driver.Result, error)

	// Close reads what is left and gives the connection back. It returns the
	// first error of the pipeline.
	Close() error
}

// A PipelineError says which statement of a pipeline cannot be executed. It
// unwraps to the reason. Nothing was executed.
type PipelineError struct {
	Index int // of the statement, from 0
	Err   error
}

func (e *PipelineError) Error() string {
	return fmt.Sprintf("poolgate: statement %d of the pipeline: %v", e.Index, e.Err)
}

// Unwrap returns the reason.
func (e *PipelineError) Unwrap() error { return e.Err }

// CanPipeline returns nil if [SendPipeline] works on conn, an error that matches
// [ErrNoPipeline] if it does not, and another if conn cannot be used.
func CanPipeline(conn *sql.Conn) error {
	return conn.Raw(func(dc any) error {
		_, err := pipelinerOf(dc)
		return err
	})
}

// SendPipeline sends p on conn, calls read with the results, and closes them.
// It returns the error of sending or of read, or else that of the results. For
// observers, the adaptive limit and the debug page this is one call, of kind
// "batch". If there is no pipeline, the error matches [ErrNoPipeline], and
// nothing is sent.
//
// If another goroutine works with a result while read waits for it, that
// goroutine should call own, so that the gate sees a deadlock if it then waits
// for a permit. Later calls on conn end that.
func SendPipeline(ctx context.Context, conn *sql.Conn, p Pipeline, read func(results PipelineResults, own func()) error) error {
	return conn.Raw(func(dc any) error {
		pipeliner, err := pipelinerOf(dc)
		if err != nil {
			return err
		}
		send := func(ctx context.Context, own func()) error {
			return sendPipeline(ctx, pipeliner, p, func(results PipelineResults) error { return read(results, own) })
		}
		if gated, ok := dc.(interface {
			batch(context.Context, Pipeline, func(context.Context, func()) error) error
		}); ok {
			return gated.batch(ctx, p, send)
		}
		return send(ctx, func() {})
	})
}

// pipelinerOf returns the Pipeliner behind dc, which is what sql.Conn.Raw hands
// out.
func pipelinerOf(dc any) (Pipeliner, error) {
	p, err := find[Pipeliner](dc)
	switch {
	case errors.Is(err, ErrRawType):
		return nil, fmt.Errorf("%w: %w", ErrNoPipeline, err)
	case err != nil:
		return nil, err
	}
	return p, p.CanPipeline()
}

func sendPipeline(ctx context.Context, conn Pipeliner, p Pipeline, read func(PipelineResults) error) (err error) {
	results, err := conn.SendPipeline(ctx, p)
	if err != nil {
		return err
	}
	defer func() {
		if closed := results.Close(); err == nil {
			err = closed
		}
	}()
	return read(results)
}

// batch has send send p, as a call to the driver.
func (s *seat) batch(ctx context.Context, p Pipeline, send func(ctx context.Context, own func()) error) error {
	if err := s.ready(); err != nil {
		return err
	}
	text, size := p.Describe()
	ctx = s.begin(ctx, text)
	returned := false
	defer s.guard(&returned)
	err := send(ctx, func() { s.permit.SetOwner() })
	s.worked(err)
	s.watch.batch(ctx, text, size, err)
	returned = true
	return err
}

// longestBatch is how many bytes of its statements describe a pipeline.
const longestBatch = 2048

// Describe returns the texts of p's statements, joined by "; " and cut after
// the statement that passes 2 KB, with their literals; and how many statements
// there are. Control statements do not count.
func (p Pipeline) Describe() (text string, size int) {
	var b strings.Builder
	for _, s := range p.Statements {
		if s.Control {
			continue
		}
		if size++; b.Len() >= longestBatch {
			continue
		}
		if size > 1 {
			b.WriteString("; ")
		}
		b.WriteString(s.Query)
	}
	return b.String(), size
}
