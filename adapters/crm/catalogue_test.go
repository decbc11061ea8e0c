//go:build unix

package crm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A link out of the catalogue's folder is rejected, and the error quotes nothing of the file behind it. A
// link within the folder, as mounted files have, is followed.
func TestReadCatalogue_Link_OnlyWithinFolder(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	orders := filepath.Join(folder, "orders.yaml")
	if err := os.Symlink(secret, orders); err != nil {
		t.Fatal(err)
	}
	_, err := ReadCatalogue(orders)
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "leads out of its folder") {
		t.Errorf("a link to a file elsewhere: %v", err)
	}
	err = os.WriteFile(filepath.Join(folder, "real.yaml"), []byte("[{number: a1, status: sent}]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", filepath.Join(folder, "inside.yaml")); err != nil {
		t.Fatal(err)
	}
	if c, err := ReadCatalogue(filepath.Join(folder, "inside.yaml")); err != nil || c["A1"].Status != "sent" {
		t.Errorf("a link within the folder: %v %v", c, err)
	}
}
