// Package operation lets a context carry an observer of what is done with it.
// Units of work and gathers tell it when they begin and end, and need not know
// who it is. Without an observer this costs them one look into the context.
package operation

import (
	"context"
	"log/slog"
)

// An Observer is called when an operation of a kind begins. It returns the context
// for what the operation does, and an End that is called once, when the operation
// is over, from any goroutine.
type Observer func(ctx context.Context, kind string) (context.Context, End)

// An End is called with the outcome of an operation: err is nil if it succeeded.
// The facts describe its size and its outcome, and contain no value that could
// be a secret. err may contain one.
type End func(err error, facts ...slog.Attr)

type key struct{}

// With returns a context whose operations o observes, in place of any other
// Observer. If o is nil, nothing observes them.
func With(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, key{}, o)
}

// Start calls the Observer that ctx carries. If it carries none, Start returns
// ctx and a nil End.
func Start(ctx context.Context, kind string) (context.Context, End) {
	if o, _ := ctx.Value(key{}).(Observer); o != nil {
		return o(ctx, kind)
	}
	return ctx, nil
}
