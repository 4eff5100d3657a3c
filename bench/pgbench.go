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
	"time"

	"github.com/jackc/pgx/v5"
)

// A Reference is what pgbench reaches with the workload's statements: about
// the best that a client can get from this server.
type Reference struct {
	Form            Form    `json:"form"`
	Clients         int     `json:"clients"`
	Protocol        string  `json:"protocol"` // pgbench's -M
	Ops             int     `json:"ops"`
	Seconds         float64 `json:"seconds"` // without the time to connect
	OpsPerSecond    float64 `json:"ops_per_second"`
	Mean            float64 `json:"mean_ms"`
	Errors          int     `json:"errors"`
	PeakConnections int     `json:"peak_connections"`
	MeanConnections float64 `json:"mean_connections"`
}

// ReferenceClients returns the numbers of connections that pgbench is tried
// with, to find its best: no more than any strategy may use.
func ReferenceClients(limit int) []int {
	var clients []int
	for _, n := range []int{4, 8, 16} {
		if n < limit {
			clients = append(clients, n)
		}
	}
	return append(clients, limit)
}

// A script is an operation in pgbench's language.
type script struct{ name, text string }

// The data of a parent is any number: nobody checks what pgbench has written.
// pgbench cannot take ten rows from one statement to the next, so its reads
// ask for the children of the first ten parents ever written, which are those
// that the SELECT before has returned, but for a row or two.
var pgbenchScripts = map[Form][]script{
	Faithful: {
		{"write.sql", `\set n random(1, 100000)
BEGIN;
INSERT INTO a (data) VALUES (:n) RETURNING id, create_date \gset first_
INSERT INTO a (data) VALUES (:n) RETURNING id, create_date \gset second_
INSERT INTO a (data) VALUES (:n) RETURNING id, create_date \gset third_
INSERT INTO b (a_id, data) VALUES (:first_id, NULL), (:first_id, NULL), (:second_id, NULL), (:third_id, NULL), (:third_id, NULL) RETURNING id;
COMMIT;
`},
		{"read.sql", `BEGIN;
` + selectParents + `;
SELECT b.a_id, b.id, b.data FROM b WHERE b.a_id IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
ROLLBACK;
`},
	},
	Idiomatic: {
		{"write.sql", `\set n random(1, 100000)
WITH parent AS (INSERT INTO a (data) VALUES (:n), (:n + 1), (:n + 2) RETURNING id, data) INSERT INTO b (a_id) SELECT id FROM parent UNION ALL SELECT id FROM parent WHERE data <> (:n + 1)::text;
`},
		{"read.sql", selectFamilies + ";\n"},
	},
}

// pgbenchProtocol is, for each form, the way of sending statements that is the
// faster one for pgbench. Faithful reads are slower when they are prepared.
var pgbenchProtocol = map[Form]string{Faithful: "simple", Idiomatic: "prepared"}

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

// Reference has pgbench send the workload's statements on as many connections
// as clients, on fresh tables.
func (b *Bench) Reference(ctx context.Context, pgbench string, form Form, clients int) (Reference, error) {
	ref, err := b.reference(ctx, pgbench, form, clients)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Reference{}, fmt.Errorf("bench: pgbench, %s, %d clients: %w", form, clients, err)
	}
	return ref, nil
}

func (b *Bench) reference(ctx context.Context, pgbench string, form Form, clients int) (Reference, error) {
	b.Done.Store(0)
	if err := b.fresh(ctx, form); err != nil {
		return Reference{}, err
	}
	folder, err := os.MkdirTemp("", "poolbench-")
	if err != nil {
		return Reference{}, err
	}
	defer os.RemoveAll(folder)
	ref := Reference{Form: form, Clients: clients, Protocol: pgbenchProtocol[form]}
	each := max(1, len(b.plan)/clients)
	args := []string{
		"--no-vacuum", "--protocol=" + ref.Protocol,
		"--client=" + strconv.Itoa(clients), "--jobs=" + strconv.Itoa(min(clients, runtime.GOMAXPROCS(0))),
		"--transactions=" + strconv.Itoa(each), "--random-seed=" + strconv.FormatUint(b.config.Seed, 10),
	}
	for _, s := range pgbenchScripts[form] {
		file := filepath.Join(folder, s.name)
		if err := os.WriteFile(file, []byte(s.text), 0o600); err != nil {
			return Reference{}, err
		}
		args = append(args, "--file="+file+"@1")
	}
	cmd := exec.CommandContext(ctx, pgbench, args...)
	if cmd.Env, err = libpqEnvironment(b.config.DSN); err != nil {
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
	if err := ref.parse(stdout.String(), each*clients); err != nil {
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
func (r *Reference) parse(output string, ops int) error {
	rate := pgbenchRate.FindStringSubmatch(output)
	mean := pgbenchLatency.FindStringSubmatch(output)
	if rate == nil || mean == nil {
		return fmt.Errorf("cannot make sense of what it printed:\n%s", output)
	}
	r.Ops = ops
	r.OpsPerSecond, _ = strconv.ParseFloat(rate[1], 64) // digits, by the pattern
	r.Mean, _ = strconv.ParseFloat(mean[1], 64)
	r.Seconds = float64(ops) / r.OpsPerSecond
	if failed := pgbenchFailed.FindStringSubmatch(output); failed != nil { // since PostgreSQL 15
		r.Errors, _ = strconv.Atoi(failed[1])
	}
	return nil
}

// libpqEnvironment returns the environment in which libpq connects to what the
// DSN names. An argument would show the password to everybody on the machine.
func libpqEnvironment(dsn string) ([]string, error) {
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
		"PGOPTIONS=-c search_path="+schemaName,
	), nil
}
