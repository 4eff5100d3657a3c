package bench

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestFailures(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for _, test := range []struct {
		name  string
		err   error
		kind  string
		maybe bool // committed, if it comes from the commit
	}{
		{"pgx, no more connections", &pgconn.PgError{Code: "53300"}, "53300 too_many_connections", false},
		{"pq, no more connections", &pq.Error{Code: "53300"}, "53300 too_many_connections", false},
		{"wrapped", fmt.Errorf("oh: %w", &pgconn.PgError{Code: "40001"}), "40001 serialization_failure", false},
		{"of an unknown state", &pgconn.PgError{Code: "ZZZZZ"}, "SQLSTATE ZZZZZ", false},
		{"the server was shut down", &pgconn.PgError{Code: "57P01"}, "57P01 admin_shutdown", true},
		{"the server lost the connection", &pq.Error{Code: "08006"}, "08006 connection_failure", true},
		{"refused by the gate", &gate.RejectedError{Reason: gate.ErrQueueFull}, "gate: queue full", false},
		{"too long in the gate", &gate.RejectedError{Reason: gate.ErrWaitTimeout}, "gate: wait timeout", false},
		{"a closed gate", &gate.RejectedError{Reason: gate.ErrClosed}, "gate: closed", false},
		{"nobody listens", dial, "connect: connection refused", false},
		{"reset", reset, "connection lost: connection reset by peer", true},
		{"end of file", io.ErrUnexpectedEOF, "connection lost", true},
		{"bad connection", driver.ErrBadConn, "connection lost", true},
		{"canceled", context.Canceled, "canceled", true},
		{"wrong rows", fmt.Errorf("%w: 1 of 2", errWrongRows), "wrong rows", true},
		{"anything else", errors.New("x"), "*errors.errorString", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if kind := failureKind(test.err); kind != test.kind {
				t.Errorf("kind %q, want %q", kind, test.kind)
			}
			if maybeCommitted(test.err) {
				t.Error("may be committed without a commit")
			}
			if maybe := maybeCommitted(&commitError{test.err}); maybe != test.maybe {
				t.Errorf("may be committed: %v, want %v", maybe, test.maybe)
			}
		})
	}
}
