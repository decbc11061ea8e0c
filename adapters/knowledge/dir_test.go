//go:build unix

package knowledge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A link to a file outside of the folder is a mistake, and nothing of that file is shown. One that
// stays inside, as mounted folders have, is read.
func TestDir_LinkOutside_RejectedUnread(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte("s3cret: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(outside), "folder")
	if err := os.Mkdir(beside, 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, target := range map[string]string{t.TempDir(): outside, beside: "../secret.yaml"} {
		if err := os.Symlink(target, filepath.Join(folder, "bot.yaml")); err != nil {
			t.Fatal(err)
		}
		_, err := Read(Dir(folder), Options{Untrained: true})
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "bot.yaml") ||
			!strings.Contains(err.Error(), "a link that leads out of the folder") {
			t.Errorf("a link to %s: %v", target, err)
		}
	}
}

func TestDir_LinkInside_Read(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "..version"), Shop); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..version", filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/bot.yaml", filepath.Join(folder, "bot.yaml")); err != nil {
		t.Fatal(err)
	}
	f, err := open(Dir(folder))
	if err != nil || len(f.files) != 1 || len(f.files["bot.yaml"]) == 0 {
		t.Errorf("read %d files (%v), want the one that is linked", len(f.files), err)
	}
}
