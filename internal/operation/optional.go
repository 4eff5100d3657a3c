package operation

import "context"

type optionalKey struct{}

// Optional returns a context whose waits for a permit or a connection are
// optional: the operation goes on without what they do not get, and may call
// them off. Neither is a failure, and nothing should count or report it as one.
func Optional(ctx context.Context) context.Context {
	return context.WithValue(ctx, optionalKey{}, true)
}

// IsOptional reports whether waits under ctx are optional.
func IsOptional(ctx context.Context) bool { return ctx.Value(optionalKey{}) != nil }
