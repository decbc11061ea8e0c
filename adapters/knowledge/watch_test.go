package knowledge

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// told is one report of Watch.
type told struct {
	k   *dialog.Knowledge
	err error
}

// written writes files into a folder, each atomically, because Watch may look at the folder at any time.
func written(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path, draft := filepath.Join(dir, name), filepath.Join(t.TempDir(), "draft")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(draft, path); err != nil {
			t.Fatal(err)
		}
	}
}

// watched returns a folder that is watched until the test ends.
func watched(t *testing.T, every time.Duration) (dir string, news <-chan told) {
	t.Helper()
	dir = t.TempDir()
	written(t, dir, small)
	f, err := open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan told, 100)
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		Watch(ctx, os.DirFS(dir), f.hash, every, Options{Untrained: true},
			func(k *dialog.Knowledge, err error) { all <- told{k, err} })
	})
	t.Cleanup(func() { stop(); watching.Wait() })
	return dir, all
}

func next(t *testing.T, news <-chan told) told {
	t.Helper()
	select {
	case n := <-news:
		return n
	case <-time.After(10 * time.Second):
		t.Fatal("Watch reported nothing")
		return told{}
	}
}

func TestWatch_Change_Reported(t *testing.T) {
	t.Parallel()
	dir, news := watched(t, 5*time.Millisecond)

	written(t, dir, map[string]string{"canned.yaml": "hold: Please wait.\n"})
	if n := next(t, news); n.err != nil || n.k.Canned["hold"]["en"] != "Please wait." {
		t.Fatalf("Watch reported %+v", n)
	}

	written(t, dir, map[string]string{"canned.yaml": "hold: {fr: Attendez}\n"})
	if n := next(t, news); n.k != nil || len(Mistakes(n.err)) == 0 {
		t.Fatalf("Watch reported %+v", n)
	}

	written(t, dir, map[string]string{"canned.yaml": "hold: Wait.\n"})
	if n := next(t, news); n.err != nil || n.k.Canned["hold"]["en"] != "Wait." {
		t.Fatalf("Watch reported %+v", n)
	}
	if err := os.Rename(dir, filepath.Join(t.TempDir(), "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if n := next(t, news); n.k != nil || !errors.Is(n.err, os.ErrNotExist) {
		t.Fatalf("Watch reported %+v", n)
	}
	select {
	case n := <-news:
		t.Errorf("the same change is reported twice: %+v", n)
	default:
	}
}

func TestWatch_SaveInProgress_NotReported(t *testing.T) {
	t.Parallel()
	l := looks{told: "a", last: "a"}
	for i, look := range []struct {
		now  string
		told bool
	}{
		{"a", false}, {"half of b", false}, {"most of b", false}, {"b", false}, {"b", true}, {"b", false},
		{"half of c", false}, {"b", false}, {"b", false}, // undone before it settled
		{"broken", false}, {"broken", true}, {"broken", false}, {"b", false}, {"b", true},
	} {
		if told := l.changed(look.now); told != look.told {
			t.Errorf("look %d at %s: reported %t, want %t", i, look.now, told, look.told)
		}
	}
}

func TestLibrary_PutWhileRead_ReadersSeeIt(t *testing.T) {
	t.Parallel()
	first, second := &dialog.Knowledge{Hash: "1"}, &dialog.Knowledge{Hash: "2"}
	library := NewLibrary(map[string]*dialog.Knowledge{"a": first, "b": first})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for library.Of("a") != second {
			}
		})
	}
	library.Put("a", second)
	all.Wait()
	if library.Of("b") != first || library.Of("c") != nil {
		t.Errorf("b knows %v, c %v", library.Of("b"), library.Of("c"))
	}
}
