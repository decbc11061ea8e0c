//go:build unix

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotated returns a command whose value is that of a file now, and what sets the value.
func rotated(t *testing.T) (command string, set func(string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	set = func(value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "command:cat " + path, set
}

// A command is run again after a minute, so that a rotated secret is used without a restart, and not
// each time the bots file is read.
func TestResolve_Command_RunAgainWhenOld(t *testing.T) {
	t.Parallel()
	command, set := rotated(t)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	cache := commandValues{now: func() time.Time { return at }}
	for _, step := range []struct {
		value string
		after time.Duration
		want  string
	}{
		{" one\n", 0, "one"}, {"two", commandEvery - time.Second, "one"}, {"two", time.Second, "two"},
		{"three", time.Hour, "three"},
	} {
		set(step.value)
		at = at.Add(step.after)
		if got, err := cache.of(strings.TrimPrefix(command, "command:")); got != step.want || err != nil {
			t.Errorf("after %v: %q, %v, want %q", step.after, got, err, step.want)
		}
	}
	set("four")
	cache.forget()
	if got, err := cache.of(strings.TrimPrefix(command, "command:")); got != "four" || err != nil {
		t.Errorf("when asked to read again: %q, %v", got, err)
	}
}

// A command that fails, prints nothing, prints too much or does not end is a mistake in the bots file,
// which quotes nothing that the command wrote.
func TestResolve_CommandFails_Mistake(t *testing.T) {
	t.Parallel()
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"command:":                           "name a program",
		"command:/no/such/program":           "no such file",
		"command:false":                      "exit status 1",
		"command:true":                       "printed nothing",
		"command:cat " + large:               "more than",
		"command:ls /no/such/hidden-in-args": "exit status",
	} {
		got, err := Resolve(value)
		if err == nil || !strings.Contains(err.Error(), want) || got != "" || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %q, %v, want %q", value, got, err, want)
		}
	}
}

// The arguments go to the program as they stand: there is no shell.
func TestResolve_Command_NoShell(t *testing.T) {
	t.Parallel()
	if got, err := Resolve("command:echo $HOME ; rm -rf | cat"); got != "$HOME ; rm -rf | cat" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := source("command:pass show hidden"); got != "set (command:pass)" {
		t.Errorf("the source is told as %q", got)
	}
}

// A command that does not end is killed.
func TestResolve_CommandHangs_Killed(t *testing.T) {
	t.Parallel()
	cache := commandValues{now: time.Now, timeout: time.Millisecond}
	if got, err := cache.of("sleep 600"); got != "" || err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("%q, %v", got, err)
	}
}
