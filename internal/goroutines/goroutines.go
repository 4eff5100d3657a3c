// Package goroutines reads the stacks of the program's goroutines.
package goroutines

import (
	"bytes"
	"runtime"
	"strconv"
	"strings"
)

// Take stops the program while it prints the stacks, so it refuses to print
// more than these.
const (
	maxGoroutines = 10_000
	maxBytes      = 64 << 20
)

// A Goroutine is one goroutine at the moment of [Take].
type Goroutine struct {
	State  string // as the runtime prints it, such as "IO wait, 3 minutes"
	Frames []Frame
}

// A Frame is one function of a stack.
type Frame struct {
	Function string // with its package's path, without arguments
	Place    string // file:line
	Created  bool   // the function does not run: it started the goroutine
}

// Stacks holds the printed stacks of all goroutines. The nil Stacks holds none.
type Stacks struct {
	printed map[int64][]byte
}

// Take prints the stacks of all goroutines. It takes about 10 µs for each, in
// which the program stands still. It returns nil if there are more than 10,000
// goroutines, or if their stacks take more than 64 MB.
func Take() *Stacks {
	if runtime.NumGoroutine() > maxGoroutines {
		return nil
	}
	text := make([]byte, 64<<10)
	for {
		n := runtime.Stack(text, true)
		if n < len(text) {
			text = text[:n]
			break
		}
		if len(text) >= maxBytes { // the goroutines that are cut off would seem to have ended
			return nil
		}
		text = make([]byte, 4*len(text))
	}
	s := &Stacks{printed: make(map[int64][]byte)}
	for one := range bytes.SplitSeq(text, []byte("\n\n")) {
		// goroutine 18 [chan receive, 2 minutes]:
		number, _, _ := bytes.Cut(bytes.TrimPrefix(one, []byte("goroutine ")), []byte(" "))
		if id, err := strconv.ParseInt(string(number), 10, 64); err == nil {
			s.printed[id] = one
		}
	}
	return s
}

// Find returns the goroutine of that number, and reports whether there is one.
func (s *Stacks) Find(id int64) (g Goroutine, ok bool) {
	if s == nil {
		return g, false
	}
	printed, ok := s.printed[id]
	if !ok {
		return g, false
	}
	return parse(string(printed)), true
}

// parse reads what the runtime prints of one goroutine.
func parse(printed string) (g Goroutine) {
	lines := strings.Split(printed, "\n")
	_, state, _ := strings.Cut(lines[0], "[")
	g.State, _, _ = strings.Cut(state, "]")
	for i := 1; i+1 < len(lines); i += 2 {
		function, created := strings.CutPrefix(lines[i], "created by ")
		if created {
			function, _, _ = strings.Cut(function, " in goroutine ")
		} else if end := strings.LastIndexByte(function, '('); end > 0 {
			function = function[:end] // the arguments are words of memory
		}
		place, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		g.Frames = append(g.Frames, Frame{function, place, created})
	}
	return g
}
