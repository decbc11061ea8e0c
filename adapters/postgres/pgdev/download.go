package pgdev

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/xi2/xz"
)

const (
	downloadVersion = "16.9.0"
	downloadMajor   = 16

	// repository is Maven Central, where zonkyio/embedded-postgres-binaries publishes
	// builds of PostgreSQL for Linux and macOS.
	repository = "https://repo1.maven.org/maven2"

	// downloadTimeout limits the download of some 10 MB.
	downloadTimeout = 90 * time.Second

	// maxArchive and maxUnpacked limit, in bytes, what a broken or hostile repository
	// can make this process hold and write. The archives have some 10 MB and hold 40.
	maxArchive, maxUnpacked = 128 << 20, 512 << 20
)

// download fetches server programs when none are installed. All data directories of
// a user share them. missing is the error that led here; the caller gets it when
// the download fails too, because installing PostgreSQL is the better advice.
func download(ctx context.Context, missing error) (string, error) {
	cache, err := downloadDir()
	if err != nil {
		return "", fmt.Errorf("%w (cannot download them: %v)", missing, err)
	}
	bin, err := fetch(ctx, cache, repository)
	if err != nil {
		return "", fmt.Errorf("%w (cannot download them: %v)", missing, err)
	}
	return bin, nil
}

// fetch returns the folder of the programs in cache, and downloads them first when
// they are missing. The archive holds the server and initdb, but no psql, pg_dump or
// pgbench.
func fetch(ctx context.Context, cache, repository string) (string, error) {
	programs := filepath.Join(cache, "programs")
	bin := filepath.Join(programs, "bin")
	if hasPrograms(bin) {
		return bin, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTimeout,
		fmt.Errorf("not complete within %s", downloadTimeout))
	defer cancel()
	archive, err := fetchArchive(ctx, repository)
	if err != nil {
		return "", err
	}

	// Unpacked beside its place and renamed when complete: an interrupted run leaves
	// nothing that looks like the programs, and two runs do not mix their files.
	unpacked, err := os.MkdirTemp(cache, "unpacking-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unpacked)
	if err := os.Chmod(unpacked, 0o755); err != nil { // root's server user must enter it
		return "", err
	}
	if err := unpack(unpacked, archive); err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	if !hasPrograms(filepath.Join(unpacked, "bin")) {
		return "", errors.New("the archive holds no bin/initdb and bin/postgres")
	}
	if err := os.RemoveAll(programs); err != nil {
		return "", err
	}
	if err := os.Rename(unpacked, programs); err != nil && !hasPrograms(bin) {
		return "", err
	}
	return bin, nil
}

// fetchArchive downloads the archive of this platform's programs (a tar.xz inside a
// jar, which is a zip file) and compares it with the checksum that the repository
// publishes beside it.
func fetchArchive(ctx context.Context, repository string) ([]byte, error) {
	name := "embedded-postgres-binaries-" + platform()
	url := fmt.Sprintf("%s/io/zonky/test/postgres/%s/%s/%s-%s.jar",
		repository, name, downloadVersion, name, downloadVersion)
	jar, err := get(ctx, url)
	if err != nil {
		return nil, err
	}
	published, err := get(ctx, url+".sha256")
	switch {
	case errors.Is(err, errNotFound): // not every release has one
	case err != nil:
		return nil, err
	default:
		if sum := sha256.Sum256(jar); !strings.EqualFold(strings.TrimSpace(string(published)),
			hex.EncodeToString(sum[:])) {
			return nil, fmt.Errorf("%s: checksum mismatch", url)
		}
	}
	files, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	for _, file := range files.File {
		if !strings.HasSuffix(file.Name, ".txz") {
			continue
		}
		r, err := file.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", url, file.Name, err)
		}
		defer r.Close()
		return readLimited(r, maxArchive)
	}
	return nil, fmt.Errorf("%s: no .txz archive in it", url)
}

// platform is the part of an archive's name that tells system and processor.
func platform() string {
	arch := runtime.GOARCH
	if arch == "arm64" {
		arch = "arm64v8"
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		arch += "-alpine" // built with musl
	}
	return runtime.GOOS + "-" + arch
}

var errNotFound = errors.New("not found (404)")

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		b, err := readLimited(resp.Body, maxArchive)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", url, err)
		}
		return b, nil
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, errNotFound)
	}
	return nil, fmt.Errorf("%s: status %s", url, resp.Status)
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return b, err
}

// unpack writes the files of a tar.xz archive into dir. os.Root rejects a name that
// leads out of dir, through a symbolic link too.
func unpack(dir string, archive []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	uncompressed, err := xz.NewReader(bytes.NewReader(archive), 0)
	if err != nil {
		return err
	}
	files := tar.NewReader(io.LimitReader(uncompressed, maxUnpacked))
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(header.Name)
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(header.Linkname, name)
		case tar.TypeReg:
			err = unpackFile(root, name, header.FileInfo().Mode().Perm(), files)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, mode os.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return fill(f, content)
}

// fill writes a new file and closes it.
func fill(f *os.File, content io.Reader) error {
	if _, err := io.Copy(f, content); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// downloadDir is in the user's cache. For root it is in the temporary folder, which
// the unprivileged user of root's server can enter.
func downloadDir() (string, error) {
	if os.Geteuid() == 0 {
		dir := filepath.Join(os.TempDir(), "chatledger-postgresql-"+downloadVersion)
		return dir, makeOwnDir(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "chatledger", "postgresql-"+downloadVersion)
	return dir, os.MkdirAll(dir, 0o755)
}
