package main

import (
	"testing"

	"github.com/poolgate/poolgate/examples/internal/printed"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestOutput(t *testing.T) { printed.Compare(t, run, nil, want) }

const want = `POST /: 204 No Content
  committed: context; detached; detached, by hand; new; new, by hand
POST /?refuse=1: 400 Bad Request
  committed: detached; detached, by hand; new; new, by hand
`
