package debugpage

import (
	"fmt"
	"path"
	"strings"

	"github.com/poolgate/poolgate/internal/goroutines"
)

// A goroutine is one that holds a permit, as it is now.
type goroutine struct {
	Ended bool   `json:"ended"`           // so it will not release what it holds
	State string `json:"state,omitempty"` // as the runtime prints it: "IO wait, 3 minutes"
	Stack string `json:"stack,omitempty"`
}

// find returns the goroutine of that number, or nil if it is not known.
func find(stacks *goroutines.Stacks, id int64) *goroutine {
	if stacks == nil || id == 0 {
		return nil
	}
	g, ok := stacks.Find(id)
	if !ok {
		return &goroutine{Ended: true}
	}
	var b strings.Builder
	for _, f := range g.Frames {
		if f.Created {
			b.WriteString("created by ")
		}
		fmt.Fprintf(&b, "%s\n\t%s\n", f.Function, f.Place)
	}
	return &goroutine{State: g.State, Stack: b.String()}
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
		frames = append(frames, frame{lines[i], strings.TrimSpace(lines[i+1])})
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

// isPlumbing reports whether function is one that every wait goes through.
func isPlumbing(function string) bool {
	for _, p := range []string{"runtime.", "internal/", "syscall.", "sync.", "time.", "net.", "net/", "crypto/tls.", "io.", "bufio.", "database/sql.",
		"github.com/poolgate/poolgate/adapters/internal/"} {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}
