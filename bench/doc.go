// Package bench sends one workload through PostgreSQL, on two drivers, let in
// in different ways, and says what each of them did. The command
// bench/cmd/poolbench runs it; docs/benchmark.md explains it.
package bench
