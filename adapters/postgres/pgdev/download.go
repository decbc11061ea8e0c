package pgdev

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

const (
	downloadVersion = embedded.V16
	downloadMajor   = 16

	// repository serves builds of PostgreSQL for Linux and macOS.
	repository = "https://repo1.maven.org/maven2"

	// downloadTimeout bounds a download of some 10 MB.
	downloadTimeout = 90 * time.Second
)

// download fetches server programs, once for all directories of the user, when
// none are installed. missing is the error that said so; it is what the caller
// sees when the download fails too, because installing is the better advice.
func download(ctx context.Context, missing error) (string, error) {
	cache, err := downloadDir()
	if err != nil {
		return "", fmt.Errorf("%w (no folder to download them to: %v)", missing, err)
	}
	bin, err := fetch(ctx, cache, repository)
	if err != nil {
		return "", fmt.Errorf("%w (downloading them failed: %v)", missing, err)
	}
	return bin, nil
}

// fetch returns the programs in cache, downloaded if they are not there yet.
// The archive has the server and initdb only: no psql, pg_dump or pgbench.
func fetch(ctx context.Context, cache, repository string) (string, error) {
	bin := filepath.Join(cache, "programs", "bin")
	complete := func() bool {
		return executable(filepath.Join(bin, "postgres")) && executable(filepath.Join(bin, "initdb"))
	}
	if complete() {
		return bin, nil
	}
	// The library downloads and unpacks as the first part of starting a server
	// of its own. Nothing can be made beneath a file, so it stops there.
	obstacle := filepath.Join(cache, "not-a-folder")
	if err := os.WriteFile(obstacle, nil, 0o644); err != nil {
		return "", err
	}
	port, err := choosePort(Config{}, 0)
	if err != nil {
		return "", err
	}
	server := embedded.NewDatabase(embedded.DefaultConfig().
		Version(downloadVersion).
		BinaryRepositoryURL(repository).
		CachePath(cache).
		RuntimePath(filepath.Join(cache, "unused")).
		BinariesPath(filepath.Join(cache, "programs")).
		DataPath(filepath.Join(obstacle, "data")).
		Port(uint32(port)).
		Logger(io.Discard))
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTimeout, fmt.Errorf("no answer within %s", downloadTimeout))
	defer cancel()
	ended := make(chan error, 1)
	// The library knows no deadline. When it hangs, this goroutine outlives us,
	// and the program ends with the error below.
	go func() { ended <- server.Start() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if complete() {
		return bin, nil
	}
	return "", err
}

// downloadDir is in the user's cache, or, for root, where the server's user
// can enter.
func downloadDir() (string, error) {
	if os.Geteuid() == 0 {
		dir := filepath.Join(os.TempDir(), "chatledger-postgresql-"+string(downloadVersion))
		return dir, makeOwnDir(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "chatledger", "postgresql-"+string(downloadVersion))
	return dir, os.MkdirAll(dir, 0o755)
}
