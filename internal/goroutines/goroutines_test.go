package goroutines

import (
	"reflect"
	"strings"
	"testing"

	"github.com/petermattis/goid"
)

func TestParse(t *testing.T) {
	const printed = `goroutine 18 [chan receive, 2 minutes]:
example.com/orders.(*Store).Load(0xc000012345, {0x1, 0x2})
	/src/with space/store.go:42 +0x1d
main.main.func1()
	C:/src/main.go:7
created by main.main in goroutine 1
	/src/main.go:3 +0x85`
	want := Goroutine{State: "chan receive, 2 minutes", Frames: []Frame{
		{"example.com/orders.(*Store).Load", "/src/with space/store.go:42", false},
		{"main.main.func1", "C:/src/main.go:7", false},
		{"main.main", "/src/main.go:3", true},
	}}
	if got := parse(printed); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTake(t *testing.T) {
	leave, ids := make(chan struct{}), make(chan int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stand(ids, leave)
	}()
	id := <-ids
	for { // until it stands there
		g, ok := Take().Find(id)
		if !ok {
			t.Fatal("the goroutine is not found")
		}
		if strings.HasPrefix(g.State, "chan receive") {
			if len(g.Frames) < 3 || !strings.HasSuffix(g.Frames[0].Function, "goroutines.stand") ||
				!strings.Contains(g.Frames[0].Place, "goroutines_test.go:") || !g.Frames[len(g.Frames)-1].Created {
				t.Errorf("got %+v", g)
			}
			break
		}
	}
	close(leave)
	<-ended
	for {
		if _, ok := Take().Find(id); !ok {
			break
		}
	}
	if _, ok := (*Stacks)(nil).Find(id); ok {
		t.Error("found in nil")
	}
}

//go:noinline
func stand(ids chan<- int64, leave <-chan struct{}) {
	ids <- goid.Get()
	<-leave
}
