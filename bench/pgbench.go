package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A PgbenchCase names a run of pgbench.
type PgbenchCase struct {
	Form     Form   `json:"form"`
	Protocol string `json:"protocol"` // pgbench's -M
	Clients  int    `json:"clients"`
}

// String returns "faithful pgbench simple 4" and the like.
func (c PgbenchCase) String() string {
	return fmt.Sprintf("%s pgbench %s %d", c.Form, c.Protocol, c.Clients)
}

// PgbenchCases returns the runs that find pgbench's best result: a few numbers of
// connections, at most the limit.
//
// The simple protocol is pgbench's default. Prepared statements are pgx's default
// and cost the server least. They are not tried for the faithful form, whose
// reads they slow down; see Driver.Settings.
func PgbenchCases(forms []Form, limit int) []PgbenchCase {
	protocols := map[Form][]string{Faithful: {"simple"}, Idiomatic: {"simple", "prepared"}}
	var cases []PgbenchCase
	for _, f := range forms {
		for _, protocol := range protocols[f] {
			for _, clients := range []int{4, 8, 16} {
				if clients < limit {
					cases = append(cases, PgbenchCase{f, protocol, clients})
				}
			}
			cases = append(cases, PgbenchCase{f, protocol, limit})
		}
	}
	return cases
}

// A Reference is the result of pgbench with the workload's statements: about
// the best that a client can reach on this server.
type Reference struct {
	PgbenchCase

	Ops             int     `json:"ops"`
	Seconds         float64 `json:"seconds"` // without the time to connect
	OpsPerSecond    float64 `json:"ops_per_second"`
	Mean            float64 `json:"mean_ms"`
	Errors          int     `json:"errors"`
	PeakConnections int     `json:"peak_connections"`
	MeanConnections float64 `json:"mean_connections"`
}

// pgbenchScripts returns the write and the read in pgbench's language. The
// statements are those of the Go code, with something in the place of their
// parameters. The data of a parent is any number, for nobody checks what
// pgbench has written. pgbench cannot take ten rows from one statement to the
// next, so its faithful read asks for the children of the first ten parents
// ever written: those that the SELECT before has returned, but for one or two.
func pgbenchScripts(f Form) (write, read string) {
	const numbers = "\\set first random(1, 100000)\n\\set second :first + 1\n\\set third :first + 2\n"
	if f == Idiomatic {
		return numbers + withValues(insertFamilies, "(:first)::text", "(:second)::text", "(:third)::text") + ";\n",
			selectFamilies + ";\n"
	}
	write = numbers + "BEGIN;\n"
	for _, name := range []string{"first", "second", "third"} {
		write += withValues(insertParent, "(:"+name+")::text") + " \\gset " + name + "_\n"
	}
	write += withValues(insertChildren, ":first_id", "NULL", ":first_id", "NULL", ":second_id", "NULL",
		":third_id", "NULL", ":third_id", "NULL") + ";\nCOMMIT;\n"
	read = "BEGIN;\n" + selectParents + ";\n" +
		withValues(selectChildren[parentsPerRead], "1", "2", "3", "4", "5", "6", "7", "8", "9", "10") + ";\nROLLBACK;\n"
	return write, read
}

// withValues puts the values in the place of $1, $2 and so on.
func withValues(statement string, values ...string) string {
	for n := len(values); n > 0; n-- { // $10 before $1
		statement = strings.ReplaceAll(statement, fmt.Sprintf("$%d", n), values[n-1])
	}
	return statement
}

// FindPgbench returns the path of pgbench in binDir, if that is not empty, or
// else on PATH.
func FindPgbench(binDir string) (string, error) {
	if binDir != "" {
		if path, err := exec.LookPath(filepath.Join(binDir, "pgbench")); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("pgbench")
	if err != nil {
		return "", errors.New("pgbench is not installed (apt-get install postgresql-contrib has it on some systems)")
	}
	return path, nil
}

// Pgbench has pgbench, which is found at path, send the workload's statements on
// fresh tables.
func (b *Bench) Pgbench(ctx context.Context, path string, c PgbenchCase) (Reference, error) {
	ref, err := b.pgbench(ctx, path, c)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Reference{}, fmt.Errorf("bench: %s: %w", c, err)
	}
	return ref, nil
}

func (b *Bench) pgbench(ctx context.Context, path string, c PgbenchCase) (Reference, error) {
	b.Done.Store(0)
	if err := b.fresh(ctx, c.Form); err != nil {
		return Reference{}, err
	}
	folder, err := os.MkdirTemp("", "poolbench-")
	if err != nil {
		return Reference{}, err
	}
	defer os.RemoveAll(folder)
	writeFile, readFile := filepath.Join(folder, "write.sql"), filepath.Join(folder, "read.sql")
	write, read := pgbenchScripts(c.Form)
	err = errors.Join(os.WriteFile(writeFile, []byte(write), 0o600), os.WriteFile(readFile, []byte(read), 0o600))
	if err != nil {
		return Reference{}, err
	}
	each := max(1, len(b.plan)/c.Clients)
	cmd := exec.CommandContext(ctx, path,
		"--no-vacuum",
		"--protocol="+c.Protocol,
		"--client="+strconv.Itoa(c.Clients),
		"--jobs="+strconv.Itoa(min(c.Clients, runtime.GOMAXPROCS(0))),
		"--transactions="+strconv.Itoa(each),
		"--random-seed="+strconv.FormatUint(b.config.Seed, 10),
		"--file="+writeFile+"@1",
		"--file="+readFile+"@1",
	)
	if cmd.Env, err = libpqEnvironment(b.config.DSN, b.config.Schema); err != nil {
		return Reference{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr

	sampler := startSampler(b.observer, time.Now())
	err = cmd.Run()
	samples, sampling := sampler.finish()
	if err != nil {
		return Reference{}, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	if sampling != nil {
		return Reference{}, sampling
	}
	ref := Reference{PgbenchCase: c, Ops: each * c.Clients}
	if err := ref.parse(stdout.String()); err != nil {
		return Reference{}, err
	}
	ref.PeakConnections, ref.MeanConnections, err = peakAndMean(samples)
	b.Done.Store(int64(len(b.plan)))
	return ref, err
}

var (
	pgbenchRate    = regexp.MustCompile(`(?m)^tps = ([\d.]+) \((?:without initial connection time|excluding connections establishing)\)`)
	pgbenchLatency = regexp.MustCompile(`(?m)^latency average = ([\d.]+) ms`)
	pgbenchFailed  = regexp.MustCompile(`(?m)^number of failed transactions: (\d+)`)
)

// parse reads what pgbench has printed.
func (r *Reference) parse(output string) error {
	rate := pgbenchRate.FindStringSubmatch(output)
	mean := pgbenchLatency.FindStringSubmatch(output)
	if rate == nil || mean == nil {
		return fmt.Errorf("cannot make sense of what it printed:\n%s", output)
	}
	r.OpsPerSecond, _ = strconv.ParseFloat(rate[1], 64) // digits, by the pattern
	r.Mean, _ = strconv.ParseFloat(mean[1], 64)
	r.Seconds = float64(r.Ops) / r.OpsPerSecond
	if failed := pgbenchFailed.FindStringSubmatch(output); failed != nil { // since PostgreSQL 15
		r.Errors, _ = strconv.Atoi(failed[1])
	}
	return nil
}

// libpqEnvironment returns the environment in which libpq connects to what the
// DSN names. An argument would show the password to everybody on the machine.
func libpqEnvironment(dsn, schema string) ([]string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the DSN cannot be parsed")
	}
	sslmode := "disable"
	if config.TLSConfig != nil {
		sslmode = "require"
		for _, fallback := range config.Fallbacks {
			if fallback.TLSConfig == nil {
				sslmode = "prefer"
			}
		}
	}
	return append(os.Environ(),
		"PGHOST="+config.Host,
		"PGPORT="+strconv.Itoa(int(config.Port)),
		"PGUSER="+config.User,
		"PGPASSWORD="+config.Password,
		"PGDATABASE="+config.Database,
		"PGSSLMODE="+sslmode,
		"PGAPPNAME="+applicationName,
		"PGOPTIONS=-c search_path="+schema,
	), nil
}
