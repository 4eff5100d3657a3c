//go:build !unix

package pgserver

import (
	"context"
	"fmt"
	"runtime"
)

// A cluster would be a server of our own.
type cluster struct{ binDir string }

func locate(context.Context) (string, error) {
	return "", fmt.Errorf("%w (on %s no server is started)", ErrUnavailable, runtime.GOOS)
}

func startCluster(ctx context.Context, _ string, _ Config) (*cluster, error) {
	_, err := locate(ctx)
	return nil, err
}

func (c *cluster) dsn() string  { return "" }
func (c *cluster) close() error { return nil }

func (c *cluster) standby(context.Context) (*cluster, error) { return nil, ErrUnavailable }
func (c *cluster) restart(context.Context) error             { return nil }
