package main

import (
	"database/sql"
	"fmt"
	"net/http"

	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// newHandler returns the service's handler. It knows nothing of gates but the
// class of each route, and what a refusal is over HTTP.
func newHandler(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /now", gatehttp.Class("pages", query(db, "SELECT now()::text")))
	mux.Handle("GET /report", gatehttp.Class("reports", query(db, "SELECT pg_sleep(1), now()::text")))
	return mux
}

// query returns a handler that answers with the last column of a row.
func query(db *sql.DB, statement string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rows, err := db.QueryContext(r.Context(), statement)
		if err != nil {
			gatehttp.WriteError(w, err) // 503 with Retry-After if the gate refused
			return
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			gatehttp.WriteError(w, err)
			return
		}
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		for rows.Next() {
			if err := rows.Scan(values...); err != nil {
				gatehttp.WriteError(w, err)
				return
			}
		}
		if err := rows.Err(); err != nil {
			gatehttp.WriteError(w, err)
			return
		}
		fmt.Fprintln(w, *values[len(values)-1].(*any))
	})
}
