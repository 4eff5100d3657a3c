//go:build unix

package pgserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// standby makes a cluster that follows c.
func (c *cluster) standby(ctx context.Context) (*cluster, error) {
	if _, err := os.Stat(filepath.Join(c.binDir, "pg_basebackup")); err != nil {
		return nil, fmt.Errorf("%w (a standby needs pg_basebackup, which %s has not: apt-get install postgresql-client)",
			ErrUnavailable, c.binDir)
	}
	return newCluster(ctx, c.binDir, c.config, func(s *cluster, ctx context.Context) error {
		return s.finish(ctx, "pg_basebackup", "--no-sync", "--checkpoint=fast", "--write-recovery-conf",
			"--dbname="+c.dsn(), "--pgdata="+s.dataDir())
	})
}
