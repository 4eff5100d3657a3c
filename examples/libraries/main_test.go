package main

import (
	"testing"

	"github.com/poolgate/poolgate/examples/internal/printed"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestOutput(t *testing.T) { printed.Compare(t, run, nil, want) }

const want = `sqlc: the sum is still 1000
sqlc-prepared: the sum is still 1000
sqlx: the sum is still 1000
gorm: the sum is still 1000
gorm-prepared: the sum is still 1000
bun: the sum is still 1000
ent: the sum is still 1000
squirrel: the sum is still 1000
squirrel-cached: the sum is still 1000
`
