// Package bench sends one workload to PostgreSQL on three drivers, admitted by
// different strategies, and reports what each of them did. The command
// bench/cmd/poolbench runs it; docs/benchmark.md explains it.
package bench
