//go:build !linux

package network

import "time"

type clock struct{}

func newClock() *clock { return &clock{} }

func (*clock) sleep(d time.Duration) { time.Sleep(d) }

func (*clock) close() {}
