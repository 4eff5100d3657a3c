// Package compare has benchmarks only: poolgate's gate and what else a Go
// program can keep a limit with.
//
//	go test -run '^$' -bench . -benchtime 1x -count 5 -timeout 1h ./bench/compare
//
// With -benchtime 1x each is a load of a fixed number of acquires, and the
// figures are of one acquire and release. Where others use the machine
// meanwhile cpu-ns/op says more than ns/op. The waits' p99/p50 tells something
// where everybody waits, as with hold=sleep and more goroutines than permits;
// where hardly anybody does, p50 is the time that it takes to read the clock.
//
// It is a package of its own, without code but for the tests, so that nobody
// who uses poolgate depends on what it is compared with.
package compare
