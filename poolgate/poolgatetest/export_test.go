package poolgatetest

import (
	"testing"
	"time"
)

// Impatient has AssertIdle fail soon, for as long as t runs. Tests that use it
// cannot run in parallel with others.
func Impatient(t testing.TB) {
	before := patience
	patience = 10 * time.Millisecond
	t.Cleanup(func() { patience = before })
}
