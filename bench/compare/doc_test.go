// Package compare has benchmarks only: poolgate's gate beside what else a Go
// program can keep a limit with.
//
//	go test -run "^$" -bench . -benchtime 1x -count 5 ./bench/compare
//
// It is a package of its own, without code but for the tests, so that nobody
// who uses poolgate depends on what it is compared with. docs/compare.md has
// results, and says how to read them.
package compare
