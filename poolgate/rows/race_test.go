//go:build race

package rows_test

// raceDetector says that sync.Pool drops every fourth thing at random, as it
// does to show races.
const raceDetector = true
