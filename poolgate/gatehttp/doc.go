// Package gatehttp is what a gate means to net/http: a refusal is an answer
// with status 503 that says when to come again, and a gate can limit whole
// requests.
//
// Where a handler gets an error from a gate, or from a database behind one:
//
//	if err := db.QueryRowContext(ctx, …).Scan(…); err != nil {
//		gatehttp.WriteError(w, err) // 503 with Retry-After if the gate refused, otherwise 500
//		return
//	}
//
// [SetRetryAfter] is for those who write their errors in a form of their own.
// [NewHandler] puts a gate in front of a handler.
package gatehttp
