// Package gatehttp connects a gate to net/http: a refusal becomes a response with
// status 503 that says when to try again, a route gets a class, and a gate can
// limit whole requests.
//
// [WriteError] answers with the error of a gate, or of a database behind one:
//
//	if err := db.QueryRowContext(r.Context(), query).Scan(&name); err != nil {
//		gatehttp.WriteError(w, err) // 503 with Retry-After if the gate refused, 500 otherwise
//		return
//	}
//
// [SetRetryAfter] is for an API that writes its errors in a form of its own,
// [Class] gives a route its class, and [NewHandler] limits requests.
package gatehttp
