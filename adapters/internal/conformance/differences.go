package conformance

import (
	"database/sql"
	"testing"
)

// Differences is what a driver does in its own way, gated or not.
type Differences struct {
	// Killed is the SQLSTATE of a statement whose backend is killed while it
	// executes it, or "" where the error is poolgate.ErrOutcomeUnknown: lib/pq
	// keeps what the server said to itself.
	Killed string

	// OpenedPerCancel is how many connections are opened at most, on average,
	// for each statement that is cancelled while it runs. lib/pq marks a
	// connection bad that it has cancelled something on.
	OpenedPerCancel float64

	// ManyResults: one query may be many statements, whose results are read
	// by NextResultSet. It is lib/pq's simple protocol, which a query without
	// arguments goes by. pgx prepares each query and gets 42601.
	ManyResults bool

	// Snapshot: sql.LevelSnapshot stands for repeatable read. lib/pq refuses
	// it as unknown.
	Snapshot bool

	// BeginsReadWrite: a transaction that is not read only begins READ WRITE,
	// so that default_transaction_read_only does not keep it from writing.
	BeginsReadWrite bool

	// ReadOnlyIsStandby: target_session_attrs=read-only accepts a standby, as
	// libpq does. lib/pq asks a server of version 14 or later only for its
	// default_transaction_read_only.
	ReadOnlyIsStandby bool

	// NullElements is a slice of "a" and NULL as an array is scanned into:
	// lib/pq wants elements that are each an sql.Scanner, pgx pointers.
	NullElements any

	// OtherScan and OtherAny are ColumnType.ScanType and what lands in an
	// *any, for types that the driver has no Go type for: PostgreSQL's text,
	// as a string or as bytes.
	OtherScan, OtherAny string

	// Scan and Any are exceptions from the suite's table of columns.
	Scan, Any map[string]string

	// NamesEnumByOID: ColumnType.DatabaseTypeName of a type that the driver
	// does not know is its number. For lib/pq it is empty.
	NamesEnumByOID bool
}

// differences is the table of all differences, by Driver.Name.
var differences = map[string]Differences{
	"pgx": {
		Killed:            "57P01",
		OpenedPerCancel:   0.1,
		ManyResults:       false,
		Snapshot:          true,
		BeginsReadWrite:   false,
		ReadOnlyIsStandby: true,
		NullElements:      []*string{new("a"), nil},
		OtherScan:         "string",
		OtherAny:          "string",
		Scan:              map[string]string{"numeric(10,2)": "float64"},
		NamesEnumByOID:    true,
	},
	"pq": {
		Killed:            "",
		OpenedPerCancel:   1,
		ManyResults:       true,
		Snapshot:          false,
		BeginsReadWrite:   true,
		ReadOnlyIsStandby: false,
		NullElements:      []sql.NullString{{String: "a", Valid: true}, {}},
		OtherScan:         "interface {}",
		OtherAny:          "[]uint8",
		Scan:              map[string]string{"time": "time.Time"},
		Any:               map[string]string{"time": "time.Time"},
		NamesEnumByOID:    false,
	},
}

func differencesOf(t *testing.T, d Driver) Differences {
	t.Helper()
	diff, ok := differences[d.Name()]
	if !ok {
		t.Fatalf("driver %q is not in the table of differences", d.Name())
	}
	return diff
}
