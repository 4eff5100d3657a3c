// Package operation lets a context carry somebody who wants to know what is done
// with it: units of work and gathers tell when they begin and end, and need not
// know who listens. It costs them a look into the context if nobody does.
package operation

import (
	"context"
	"log/slog"
)

// An Observer is told that an operation of a kind begins. It returns the context
// for what the operation does, and an End that is called once, when it is over,
// from any goroutine.
type Observer func(ctx context.Context, kind string) (context.Context, End)

// An End is told how an operation ended: err is nil if it did what it was to do.
// The facts are about its size and its outcome, and hold no value that could be
// a secret. err may hold one.
type End func(err error, facts ...slog.Attr)

type key struct{}

// With returns a context whose operations o is told of, and no other Observer.
// An o of nil is nobody.
func With(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, key{}, o)
}

// Start tells the Observer that ctx carries. Where it carries none, Start
// returns ctx and a nil End.
func Start(ctx context.Context, kind string) (context.Context, End) {
	if o, _ := ctx.Value(key{}).(Observer); o != nil {
		return o(ctx, kind)
	}
	return ctx, nil
}
