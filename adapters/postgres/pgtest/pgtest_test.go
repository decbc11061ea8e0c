//go:build unix

package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/schema"
)

func TestMain(m *testing.M) { Main(m) }

// Every database is its own.
func TestDatabase_Each_Separate(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn := Connect(t, EmptyDatabase(t))
			if _, err := conn.Exec(t.Context(), "create table mine (i int)"); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), "insert into mine values ($1)", i); err != nil {
				t.Fatal(err)
			}
			var n, got int
			if err := conn.QueryRow(t.Context(), "select count(*), max(i) from mine").Scan(&n, &got); err != nil {
				t.Fatal(err)
			}
			if n != 1 || got != i {
				t.Errorf("%d rows, the last %d; want 1 row of %d", n, got, i)
			}
		})
	}
}

// A database is migrated and an empty one is not.
func TestDatabase_Empty_NotMigrated(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]int64{Database(t): schema.Latest(), EmptyDatabase(t): 0} {
		got, err := schema.Version(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
}

// A database is dropped though it is in use.
func TestDrop_DatabaseInUse_Dropped(t *testing.T) {
	var name string
	t.Run("user", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), EmptyDatabase(t))
		if err != nil {
			t.Fatal(err)
		}
		name = conn.Config().Database // left open on purpose
	})
	var n int
	conn := Connect(t, Cluster(t).DSN())
	if err := conn.QueryRow(t.Context(), "select count(*) from pg_database where datname = $1",
		name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("%s is still there", name)
	}
}

// Database names are short and plain.
func TestDatabaseName_AnyTest_ShortAndPlain(t *testing.T) {
	for test, want := range map[string]string{
		"TestA/b c": "t7_testa_b_c",
		"Test/ä":    "t7_test__",
		"TestAVeryLongNameOfATestWithManySubtests/that/goes/on/and/on/and/on": "" +
			"t7_testaverylongnameofatestwithmanysubtests_that_goes_on_and_on",
	} {
		if got := databaseName(7, test); got != want || len(got) > 63 {
			t.Errorf("databaseName(%q) = %q, want %q", test, got, want)
		}
	}
}

// leaveBehind, when set, makes TestHelper a test binary that uses the cluster
// and ends without Main: "exit" by itself, "wait" by being killed.
const leaveBehind = "PGTEST_LEAVE_BEHIND"

func TestHelper(t *testing.T) {
	how := os.Getenv(leaveBehind)
	if how == "" {
		t.Skip("runs inside TestCleanup_TestsEnd_NothingLeft")
	}
	conn := Connect(t, Database(t))
	if _, err := conn.Exec(t.Context(), "begin"); err != nil { // in the midst of something
		t.Fatal(err)
	}
	fmt.Println("dir", Cluster(t).Dir())
	if how == "wait" {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	os.Exit(0)
}

// Nothing is left behind.
func TestCleanup_TestsEnd_NothingLeft(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"exit", "wait"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestHelper$")
			cmd.Env = append(os.Environ(), leaveBehind+"="+how)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			dir, ok := strings.CutPrefix(strings.TrimSpace(line), "dir ")
			if !ok {
				t.Fatalf("the helper said %q", line)
			}
			dsn, err := os.ReadFile(filepath.Join(dir, "dsn"))
			if how == "wait" && err != nil {
				t.Fatal(err)
			}
			if how == "wait" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // 0 or "signal: killed"
			waittest.Until(t, "the folder is removed", func() bool {
				_, err := os.Stat(dir)
				return errors.Is(err, os.ErrNotExist)
			})
			waittest.Until(t, "the server is gone", func() bool {
				if len(dsn) == 0 {
					return true // it was gone before its address could be read
				}
				conn, err := pgx.Connect(t.Context(), strings.TrimSpace(string(dsn)))
				if err == nil {
					_ = conn.Close(t.Context())
				}
				return err != nil
			})
		})
	}
}

func TestCluster_Abandoned_ToldFromUsed(t *testing.T) {
	t.Parallel()
	if abandoned(Cluster(t).Dir()) {
		t.Error("a running cluster counts as abandoned")
	}
	dir := t.TempDir()
	if abandoned(dir) {
		t.Error("a directory that is just being made counts as abandoned")
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !abandoned(dir) {
		t.Error("a directory whose owner is dead does not count as abandoned")
	}
}

// BenchmarkDatabase measures a test's database, made and dropped.
func BenchmarkDatabase(b *testing.B) {
	server := Cluster(b)
	Database(b) // makes the template, where the image lacks it
	ctx := b.Context()
	var dropping time.Duration
	for b.Loop() {
		name, err := create(ctx, server, b.Name(), template)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := drop(ctx, server, name); err != nil {
			b.Fatal(err)
		}
		dropping += time.Since(start)
	}
	b.ReportMetric(float64(dropping.Milliseconds())/float64(b.N), "ms-drop/op")
}
