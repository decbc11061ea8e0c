package chat_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain/chat"
)

func golden(name string, version int) string {
	return filepath.Join("testdata", "events", fmt.Sprintf("v%d", version), name+".json")
}

func TestCodec_EveryShape_HasReadableGoldenFile(t *testing.T) {
	codec := chat.NewCodec()
	for name, current := range codec.Names() {
		for version := 1; version <= current; version++ {
			t.Run(fmt.Sprintf("%s@%d", name, version), func(t *testing.T) {
				stored, err := os.ReadFile(golden(name, version))
				if err != nil {
					t.Fatalf("each event needs one payload as it is stored: %v", err)
				}
				event, err := codec.Decode(name, version, stored)
				if err != nil {
					t.Fatal(err)
				}
				gotName, gotVersion, payload, err := codec.Encode(event)
				if codec.Former(name) && slices.Contains(codec.NamesOf(event), name) {
					return // it has another name today
				}
				if err != nil || gotName != name || gotVersion != current {
					t.Fatalf("encoded as %s@%d, error %v", gotName, gotVersion, err)
				}
				if version != current {
					return // an old shape is not written any more
				}
				if diff := cmp.Diff(fields(t, stored), fields(t, payload)); diff != "" {
					t.Errorf("stored and read again (-golden +written):\n%s", diff)
				}
			})
		}
	}
}

func TestCodec_GoldenFiles_OfKnownEvents(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "events", "v*", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d golden files, error %v", len(files), err)
	}
	names := chat.NewCodec().Names()
	for _, file := range files {
		var version int
		if _, err := fmt.Sscanf(filepath.Base(filepath.Dir(file)), "v%d", &version); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); version < 1 || version > names[name] {
			t.Errorf("%s: the codec knows %d versions of %s", file, names[name], name)
		}
	}
}

// TestCodec_GoldenFiles_ContainEveryField keeps the goldens useful: a field that none of
// them has could be renamed unnoticed.
func TestCodec_GoldenFiles_ContainEveryField(t *testing.T) {
	codec := chat.NewCodec()
	for name, version := range codec.Names() {
		stored, err := os.ReadFile(golden(name, version))
		if err != nil {
			t.Fatal(err)
		}
		event, err := codec.Decode(name, version, stored)
		if err != nil {
			t.Fatal(err)
		}
		if codec.Former(name) {
			continue
		}
		if field := zeroField(event); field != "" {
			t.Errorf("%s@%d: the golden file says nothing of %s", name, version, field)
		}
	}
}

func fields(t *testing.T, payload []byte) (m map[string]any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}
