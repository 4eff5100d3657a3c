package bench

import (
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// errWrongRows is the error of an operation that succeeded with rows that the
// workload does not write.
var errWrongRows = errors.New("wrong rows")

// A parent is a row of table a, with its children if they were selected.
type parent struct {
	id       int32
	data     string
	created  time.Time
	children []child
}

// A child is a row of table b. The workload leaves its data NULL.
type child struct {
	id, parentID int32
	data         sql.Null[string]
}

// collect scans every row of rows and closes it.
func collect[T any](rows *sql.Rows, scan func(*T) error) ([]T, error) {
	defer rows.Close()
	var all []T
	var one, zero T
	for rows.Next() {
		one = zero
		if err := scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// checkFamilies reports a read whose parents do not have the children that
// their writes gave them. Parents and children are committed together, so a
// read that sees a parent must see all its children.
func checkFamilies(parents []parent) error {
	if len(parents) > parentsPerRead {
		return fmt.Errorf("%w: %d parents instead of at most %d", errWrongRows, len(parents), parentsPerRead)
	}
	for _, p := range parents {
		want, err := wantChildren(p.data)
		if err != nil {
			return fmt.Errorf("%w: %w", errWrongRows, err)
		}
		if len(p.children) != want {
			return fmt.Errorf("%w: parent %d (data %s) with %d children instead of %d",
				errWrongRows, p.id, p.data, len(p.children), want)
		}
	}
	return nil
}
