package main

import (
	"regexp"
	"testing"

	"github.com/poolgate/poolgate/examples/internal/printed"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestOutput(t *testing.T) {
	printed.Compare(t, run, func(s string) string { return date.ReplaceAllString(s, "created at: SOME TIME\n") }, want)
}

var date = regexp.MustCompile(`created at: 20\S+\n`)

const want = `A 1 a1, created at: SOME TIME
  B 1
  B 2
A 2 a2, created at: SOME TIME
  B 3
A 3 a3, created at: SOME TIME
  B 4
  B 5
A a1
  B 1
  B 2
A a2
  B 3
A a3
  B 4
  B 5
committed: A 1 is "new data", error: <nil>
`
