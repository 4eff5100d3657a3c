package debugpage

import (
	"bytes"
	"path"
	"runtime"
	"strconv"
	"strings"
)

const (
	// maxGoroutines is how many there may be for their stacks to be printed,
	// while all stand still.
	maxGoroutines = 10_000
	maxStacks     = 64 << 20 // bytes
)

// A goroutine is one that holds a permit, as it is now.
type goroutine struct {
	Ended bool   `json:"ended"`           // and so it will not give back what it holds
	State string `json:"state,omitempty"` // as Go prints it: "IO wait, 3 minutes"
	Stack string `json:"stack,omitempty"`
}

// goroutines are all that there are, by their number; nil if nobody has looked.
type goroutines map[int64]*goroutine

// allGoroutines stops the program while it prints all stacks. It returns nil if
// they are too many.
func allGoroutines() goroutines {
	if runtime.NumGoroutine() > maxGoroutines {
		return nil
	}
	text := make([]byte, 1<<20)
	for {
		n := runtime.Stack(text, true)
		if n < len(text) {
			text = text[:n]
			break
		}
		if len(text) >= maxStacks { // some would be taken for ended
			return nil
		}
		text = make([]byte, 2*len(text))
	}
	all := make(goroutines)
	for one := range bytes.SplitSeq(text, []byte("\n\n")) {
		// goroutine 18 [chan receive, 2 minutes]:
		head, stack, _ := strings.Cut(string(one), "\n")
		number, state, ok := strings.Cut(strings.TrimPrefix(head, "goroutine "), " ")
		id, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil {
			continue
		}
		all[id] = &goroutine{State: strings.Trim(state, "[]:"), Stack: withoutArguments(stack)}
	}
	return all
}

func (all goroutines) find(id int64) *goroutine {
	switch g, ok := all[id]; {
	case all == nil || id == 0:
		return nil
	case ok:
		return g
	}
	return &goroutine{Ended: true}
}

// withoutArguments takes what stands in brackets behind the functions of a
// stack out of it: words of memory.
func withoutArguments(stack string) string {
	lines := strings.Split(stack, "\n")
	for i, line := range lines {
		if end := strings.LastIndexByte(line, '('); end > 0 && strings.HasSuffix(line, ")") && !strings.HasPrefix(line, "\t") {
			lines[i] = line[:end]
		}
	}
	return strings.Join(lines, "\n")
}

// A frame is a function in a stack, and where it stands in it.
type frame struct{ function, place string }

// String is short: "orders.(*Store).Load, store.go:42".
func (f frame) String() string {
	return path.Base(f.function) + ", " + path.Base(strings.ReplaceAll(f.place, `\`, "/"))
}

func framesOf(stack string) (frames []frame) {
	lines := strings.Split(stack, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		place, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " ")
		frames = append(frames, frame{lines[i], place})
	}
	return frames
}

// firstFrame is the first function in a stack that says something, or "".
func firstFrame(stack string) string {
	for _, f := range framesOf(stack) {
		if !isPlumbing(f.function) {
			return f.String()
		}
	}
	return ""
}

// sharedFrame is the first function in a stack that is in another one too, or
// else the first that says something: where the goroutine is now in the function
// that took the permit.
func sharedFrame(stack, taken string) string {
	in := make(map[string]bool)
	for _, f := range framesOf(taken) {
		in[f.function] = !isPlumbing(f.function)
	}
	for _, f := range framesOf(stack) {
		if in[f.function] {
			return f.String()
		}
	}
	return firstFrame(stack)
}

// isPlumbing tells whether a function is one through which everybody waits.
func isPlumbing(function string) bool {
	for _, p := range []string{"runtime.", "internal/", "sync.", "time.", "net.", "net/", "crypto/tls.", "io.", "bufio.", "database/sql."} {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}
