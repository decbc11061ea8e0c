//go:build unix

package pgdev

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// fakeRepository serves one archive, with the checksum given, under every name.
func fakeRepository(t *testing.T, jar []byte, checksum string) (url string, downloads *atomic.Int32) {
	t.Helper()
	downloads = new(atomic.Int32)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasSuffix(r.URL.Path, ".sha256"):
			downloads.Add(1)
			_, _ = w.Write(jar)
		case checksum == "":
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(checksum))
		}
	}))
	t.Cleanup(web.Close)
	return web.URL, downloads
}

// jarOf packs the files of dir as the repository does: a tar.xz in a zip file.
func jarOf(t *testing.T, dir string, tarArgs ...string) []byte {
	t.Helper()
	packed := filepath.Join(t.TempDir(), "postgres.txz")
	args := append([]string{"-C", dir, "-cJf", packed}, tarArgs...)
	if out, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
		t.Skipf("tar cannot make the archive: %v: %s", err, out)
	}
	b, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w, err := z.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// fakePrograms makes a folder with bin/initdb, bin/postgres and a linked library.
func fakePrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"bin/initdb", "bin/postgres", "bin/pg_ctl", "lib/libpq.so.5.16"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("libpq.so.5.16", filepath.Join(dir, "lib/libpq.so.5")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFetch_CacheIsFilled_DownloadsOnce(t *testing.T) {
	t.Parallel()
	jar := jarOf(t, fakePrograms(t), "bin", "lib")
	for name, checksum := range map[string]string{
		"with a checksum":    fmt.Sprintf("%x\n", sha256.Sum256(jar)),
		"without a checksum": "",
	} {
		t.Run(name, func(t *testing.T) {
			url, downloads := fakeRepository(t, jar, checksum)
			cache := t.TempDir()
			for range 2 {
				bin, err := fetch(minute(t), cache, url)
				if err != nil || !executable(filepath.Join(bin, "initdb")) {
					t.Fatalf("got %q: %v", bin, err)
				}
				if _, err := os.Stat(filepath.Join(bin, "../lib/libpq.so.5")); err != nil {
					t.Error(err)
				}
			}
			if n := downloads.Load(); n != 1 {
				t.Errorf("downloaded %d times, want once", n)
			}
			if left, _ := os.ReadDir(cache); len(left) != 1 {
				t.Errorf("the cache holds %v, want the programs only", left)
			}
		})
	}
}

// A failed download is an error of one line and leaves nothing that looks like programs.
func TestFetch_BadDownload_Fails(t *testing.T) {
	t.Parallel()
	programs := fakePrograms(t)
	whole := jarOf(t, programs, "bin", "lib")
	gone, _ := fakeRepository(t, nil, "")
	for name, c := range map[string]struct {
		jar      []byte
		checksum string
		url      string
		want     string
	}{
		"no repository": {
			url: strings.Replace(gone, "127.0.0.1", "nowhere.invalid", 1), want: "nowhere.invalid",
		},
		"another file":        {jar: whole, checksum: strings.Repeat("0", 64), want: "checksum mismatch"},
		"no archive":          {jar: []byte("<html>"), want: "zip"},
		"a part of it":        {jar: jarOf(t, programs, "lib"), want: "no bin/initdb"},
		"a name that escapes": {jar: jarOf(t, programs, "--transform=s,^bin,../bin,", "-P", "bin"), want: "escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			url := c.url
			if url == "" {
				url, _ = fakeRepository(t, c.jar, c.checksum)
			}
			cache := t.TempDir()
			_, err := fetch(minute(t), cache, url)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one line with %q", err, c.want)
			}
			if left, _ := os.ReadDir(cache); len(left) != 0 {
				t.Errorf("the cache holds %v after a failure", left)
			}
		})
	}
}
