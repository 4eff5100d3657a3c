package logging_test

import (
	"context"
	"log"
	"log/slog"
	"os"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/logging"
)

func ExampleNew() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	db, err := pgxgate.Open(os.Getenv("DATABASE_URL"), poolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	stop := db.Observe(logging.New(logger, logging.Config{Echo: true}))
	defer stop()

	db.Exec("SELECT 'a secret'")
	db.Gate().Close()
	db.ExecContext(context.Background(), "SELECT 2")
	// Output:
	// level=INFO msg=statement kind=exec class=default query="SELECT ?"
	// level=WARN msg="no permit" class=default limit=40 in_flight=0 waiting=0 reason=closed unwritten=0
}

// withoutTimes leaves out what is different each time.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey, "took", "waited":
		return slog.Attr{}
	}
	return a
}
