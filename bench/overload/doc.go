// Package overload sends a server more than it can do, and measures what is
// done in time nevertheless: with nothing but the pool's own limit, with a
// semaphore in front of it, and with a gate.
//
// It is an open loop: requests arrive when they arrive, as from users who know
// nothing of one another, and do not wait for answers to others. Each has a
// deadline, and how long it took is counted from when it was to be sent, also
// where the sender was late.
//
// bench/cmd/overload is the command, docs/overload.md has results.
package overload
