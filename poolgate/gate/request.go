package gate

import (
	"context"
	"fmt"
)

// A Request says what AcquireWith acquires. The zero Request stands for what
// Acquire acquires.
type Request struct {
	// Class is the name of a class, in place of the one that the context carries.
	// A gate without classes ignores it.
	Class string

	// Weight is how many permits are taken at once, all of them or none. Zero
	// means one. A weight above the limit, or above the Max of the class, is
	// refused with ErrTooHeavy; where the limit is lowered later, such a one
	// enters as soon as nobody else is in.
	//
	// A caller that needs several permits gets them when it is its turn and all
	// are free. Until then the others of its class wait behind it, and callers of
	// other classes go before it until its class has been passed over 16 times.
	Weight int

	// OutOfBand takes the permit from the lane, see Config.OutOfBand, whatever the
	// class.
	OutOfBand bool

	// Holder describes what the permit is used for, in Gate.Holders and in
	// reports of leaks and deadlocks. It may be nil.
	Holder Holder
}

// A Holder describes what a permit is used for.
type Holder interface {
	// Statement returns what the holder began last, such as the text of a query,
	// without any value that could be a secret, and reports whether it is still
	// running. Other goroutines than the holder's call it, until the permit is
	// released and shortly after. It must not use the gate.
	Statement() (text string, running bool)
}

// AcquireWith is Acquire for a request other than one permit of the context's
// class.
func (g *Gate) AcquireWith(ctx context.Context, r Request) (Permit, error) {
	c := g.classes[0]
	switch {
	case r.OutOfBand:
		c = g.lane
	case len(g.classes) == 1:
	case r.Class != "":
		c = g.named(r.Class)
	default:
		if c = g.classOf(ctx); c == nil {
			r.Class = classNameOf(ctx)
		}
	}
	if r.Weight == 0 {
		r.Weight = 1
	}
	if r.Weight < 1 {
		return Permit{}, fmt.Errorf("gate: Request.Weight must not be negative, got %d", r.Weight)
	}
	if c == nil {
		return Permit{}, g.refuseUnknown(ctx, r.Class, r.Weight)
	}
	done := ctx.Err()
	g.mu.Lock()
	return g.acquire(ctx, done, c, r)
}
