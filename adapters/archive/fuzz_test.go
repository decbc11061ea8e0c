package archive_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/chatledger/chatledger/adapters/archive"
)

// FuzzArchive: a directory with any manifest and any part is read or rejected, and what is
// read is as many events as the manifest says.
func FuzzArchive(f *testing.F) {
	for _, format := range []archive.Format{archive.NDJSON, archive.CloudEvents, archive.Parquet} {
		dir := f.TempDir()
		m := write(f, dir, format, 1000, feed(5)...)
		manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			f.Fatal(err)
		}
		part, err := os.ReadFile(filepath.Join(dir, m.Parts[0].File))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(format), m.Parts[0].File, manifest, part)
		negative := bytes.ReplaceAll(manifest, []byte(`"events":5`), []byte(`"events":-1`))
		f.Add(string(format), m.Parts[0].File, negative, part)
	}
	f.Add("ndjson", "../outside", []byte(`{"layout":1,"format":"ndjson","parts":[{"file":"../outside"}]}`), []byte{})
	f.Fuzz(func(t *testing.T, format, name string, manifest, part []byte) {
		dir := t.TempDir()
		if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "manifest.json" ||
			os.WriteFile(filepath.Join(dir, name), part, 0o600) != nil {
			return // name cannot be a file in the directory
		}
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := open(t, dir); err == nil {
			_, _ = rest(a.Reader())
		}
		// With a matching manifest, the part itself is read.
		edit(t, dir, "manifest.json", func([]byte) []byte {
			return []byte(`{"layout":1,"format":"` + format + `","complete":true,"events":5,"streams":2,` +
				`"parts":[{"file":"` + name + `","events":5}]}`)
		})
		a, err := archive.Open(dir)
		if err != nil {
			return
		}
		if events, err := rest(a.Reader()); err == nil && len(events) != 5 {
			t.Errorf("%d events are read without an error, want 5", len(events))
		}
	})
}
