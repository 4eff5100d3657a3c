package debugpage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func ExampleNew() {
	g, err := gate.New(gate.Config{Limit: 1, LeakAfter: 10 * time.Second, StackEvery: 1})
	if err != nil {
		log.Fatal(err)
	}
	internal := http.NewServeMux()
	internal.Handle("/debug/poolgate", debugpage.New(map[string]*gate.Gate{"orders": g}))
	// In a program: go http.ListenAndServe("localhost:6060", internal)

	permit, err := g.Acquire(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer permit.Release()
	w := httptest.NewRecorder()
	internal.ServeHTTP(w, httptest.NewRequest("GET", "/debug/poolgate?format=json", nil))
	var page struct {
		Gates []struct {
			Name  string
			Notes []struct{ Text string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Gates[0].Name, page.Gates[0].Notes)
	// Output: orders [{The only permit is in use, and nobody waits.}]
}
