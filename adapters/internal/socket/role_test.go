package socket

import (
	"testing"
	"time"
)

func TestRole(t *testing.T) {
	r := &Role{Wanted: true}
	first, second := &Conn{address: "a"}, &Conn{address: "b"}
	asked := time.Now()
	r.Opened(first, asked)
	r.Opened(first, asked)
	if r.IsDoubted(asked) {
		t.Error("a connection to the same server is in doubt")
	}
	r.Opened(second, asked.Add(time.Second))
	if !r.IsDoubted(asked) {
		t.Error("a connection to the server of before is in no doubt")
	}
	if r.IsDoubted(asked.Add(time.Second)) {
		t.Error("the new connection is in doubt")
	}

	for state, want := range map[string]bool{"25006": true, "55000": true, "0A000": true, "23505": false, "": false} {
		r := &Role{Wanted: true}
		asked := time.Now()
		r.Said(state)
		if r.IsDoubted(asked) != want {
			t.Errorf("%q: in doubt: %v", state, !want)
		}
		if r.IsDoubted(time.Now().Add(time.Minute)) {
			t.Errorf("%q: what is asked later is in doubt", state)
		}
		unwanted := &Role{}
		unwanted.Said(state)
		unwanted.Opened(first, asked)
		unwanted.Opened(second, asked)
		if unwanted.IsDoubted(asked) {
			t.Errorf("%q: in doubt although no role is wanted", state)
		}
	}
}
