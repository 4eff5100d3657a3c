package poolgatetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/poolgate"
)

// The names of databases are a prefix and an id of 16 hexadecimal digits. The
// id of a clone is random, that of a template a hash. It is also the key of an
// advisory lock, which is held as long as the clone is in use or the template
// is being made.
const (
	clonePrefix    = "poolgatetest_test_"
	makingPrefix   = "poolgatetest_new_" // a template until its migrations are done
	templatePrefix = "poolgatetest_template_"

	idLength = 16
)

// The comments on databases say what the names do not.
const (
	keptComment = "poolgatetest: kept after the failure of "
	madeComment = "poolgatetest: made "
)

// An admin creates and drops databases, on one connection to Config.DSN.
type admin struct {
	config Config
	db     *poolgate.DB
	conn   *sql.Conn
}

func connect(ctx context.Context, config Config) (*admin, error) {
	db, err := config.open(config.DSN)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &admin{config, db, conn}, nil
}

// close gives up the connection, and with it the locks.
func (a *admin) close() error {
	err := a.conn.Close()
	if closed := a.db.Close(); err == nil {
		err = closed
	}
	return err
}

// exec runs one statement.
func (a *admin) exec(ctx context.Context, statement string) error {
	if _, err := a.conn.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// clone creates a database from the template and returns its name. If there is
// no template, it makes it.
func (a *admin) clone(ctx context.Context) (name string, err error) {
	var random [idLength / 2]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	user, err := a.lock(ctx, id) // until the connection is closed
	if err != nil {
		return "", err
	}
	template, err := a.config.id(user)
	if err != nil {
		return "", err
	}
	// The loop ends in one round or two, unless others drop the template as
	// often as it is made.
	for {
		err = a.exec(ctx, "CREATE DATABASE "+clonePrefix+id+" TEMPLATE "+templatePrefix+template)
		if err == nil {
			return clonePrefix + id, nil
		}
		if there, existsErr := a.exists(ctx, templatePrefix+template); there || existsErr != nil {
			return "", err
		}
		if err := a.makeTemplate(ctx, template); err != nil {
			return "", fmt.Errorf("making the template database: %w", err)
		}
	}
}

func (a *admin) makeTemplate(ctx context.Context, id string) (err error) {
	if _, err := a.lock(ctx, id); err != nil {
		return err
	}
	defer a.unlock(id)
	making, template := makingPrefix+id, templatePrefix+id
	if there, err := a.exists(ctx, template); there || err != nil {
		return err // somebody else has made it
	}
	if err := a.drop(ctx, making); err != nil { // of a process that was killed
		return err
	}
	if err := a.exec(ctx, "CREATE DATABASE "+making+" TEMPLATE template0"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
			defer cancel()
			a.drop(ctx, making) // if it fails, the next sweep does it
		}
	}()
	if err := a.fill(ctx, making); err != nil {
		return err
	}
	a.awaitUnused(ctx, making)
	for _, statement := range []string{
		"COMMENT ON DATABASE " + making + " IS '" + madeComment + time.Now().UTC().Format(time.RFC3339) + "'",
		"ALTER DATABASE " + making + " WITH ALLOW_CONNECTIONS false",
		"ALTER DATABASE " + making + " RENAME TO " + template,
	} {
		if err := a.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// fill runs the migrations in the database of this name.
func (a *admin) fill(ctx context.Context, name string) error {
	dsn, err := connstring.WithDatabase(a.config.DSN, name)
	if err != nil {
		return fmt.Errorf("Config.DSN: %w", err)
	}
	db, err := a.config.open(dsn)
	if err != nil {
		return err
	}
	err = a.config.migrate(ctx, db)
	if err == nil {
		if busy := awaitIdle(db); busy != "" {
			err = fmt.Errorf("Config.Migrate has returned, but its DB is not idle: %s", busy)
		}
	}
	if closed := db.Close(); err == nil {
		err = closed
	}
	return err
}

// lock waits for the advisory lock of id and returns the name of the role.
func (a *admin) lock(ctx context.Context, id string) (user string, err error) {
	if err := a.conn.QueryRowContext(ctx, "SELECT current_user FROM pg_advisory_lock($1)", key(id)).Scan(&user); err != nil {
		return "", fmt.Errorf("taking an advisory lock: %w", err)
	}
	return user, nil
}

// unlock gives up the lock of id. If that fails, the connection is broken and
// the lock gone with it.
func (a *admin) unlock(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_, _ = a.conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", key(id))
}

// key returns the key of the advisory lock of id.
func key(id string) int64 {
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil {
		panic("poolgatetest: " + id + " is not an id")
	}
	return int64(n)
}

func (a *admin) exists(ctx context.Context, name string) (there bool, err error) {
	err = a.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	return there, err
}

// drop drops a database, if it exists, with the connections to it.
func (a *admin) drop(ctx context.Context, name string) error {
	a.awaitUnused(ctx, name)
	return a.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// awaitUnused gives the server a moment to end the connections to a database
// that have just been closed. DROP DATABASE, RENAME and CREATE DATABASE …
// TEMPLATE look for them only every 100 ms, so that without it a test would
// usually take that much longer.
func (a *admin) awaitUnused(ctx context.Context, name string) {
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var used bool
		err := a.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)", name).Scan(&used)
		if err != nil || !used {
			return // an error will show in what comes next
		}
	}
}

// keep marks a database so that no sweep drops it.
func (a *admin) keep(ctx context.Context, name, test string) error {
	return a.exec(ctx, "COMMENT ON DATABASE "+name+" IS '"+keptComment+strings.ReplaceAll(test, "'", "''")+"'")
}
