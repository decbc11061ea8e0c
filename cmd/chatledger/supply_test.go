//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script runs one of the scripts of .ci where the given programs take the place of real ones.
func script(t *testing.T, dir, name string, programs map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	for program, text := range programs {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, ".ci", name))
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GOVULNDB=")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// tree is a folder with copies of files of the repository.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A check that could not be made is reported, with the changes since the last one.
func TestVulnerabilities_DatabaseAway_Said(t *testing.T) {
	t.Parallel()
	dir := tree(t, ".ci/vulnerabilities", ".ci/vulnerabilities.checked")
	checked, err := os.ReadFile(filepath.Join(dir, ".ci/vulnerabilities.checked"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(checked)), "\n")
	known := lines[2] // below two lines about the check
	goTool := func(list string) map[string]string {
		return map[string]string{"go": `case "$1" in
tool) echo "govulncheck: fetching vulnerabilities: dial tcp: no such host"; exit 1 ;;
list) echo "` + list + `" ;;
env) echo "` + strings.TrimPrefix(lines[len(lines)-1], "stdlib ") + `" ;;
esac`}
	}
	const skip = "SKIP govulncheck: cannot reach its database at https://vuln.go.dev\n"
	out := script(t, dir, "vulnerabilities", goTool(known))
	if !strings.HasPrefix(out, skip) || !strings.Contains(out, "all as in") {
		t.Errorf("with the modules that were checked:\n%s", out)
	}
	out = script(t, dir, "vulnerabilities", goTool("example.com/new v1.0.0"))
	if !strings.HasPrefix(out, skip) || !strings.Contains(out, "not in") ||
		!strings.Contains(out, "example.com/new v1.0.0") {
		t.Errorf("with a new module:\n%s", out)
	}
}

// Every image can be pinned by its digest; an image whose registry is unreachable stays as it is.
func TestImages_Pin_ByDigestWhereReached(t *testing.T) {
	t.Parallel()
	dir := tree(t, ".ci/images", "docs/operations/compose.yaml", "docs/operations/Dockerfile")
	const digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	docker := `case "$*" in *caddy*) exit 1 ;; *) echo ` + digest + ` ;; esac`
	out := script(t, dir, "images", map[string]string{"docker": docker})
	compose, _ := os.ReadFile(filepath.Join(dir, "docs/operations/compose.yaml"))
	image, _ := os.ReadFile(filepath.Join(dir, "docs/operations/Dockerfile"))
	text := string(compose) + string(image)
	if !strings.Contains(out, "SKIP caddy") || strings.Count(text, "@"+digest) != 4 ||
		!strings.Contains(text, "image: postgres:17@"+digest+"\n") || !strings.Contains(text, "@"+digest+" AS build\n") {
		t.Errorf("%s\n%s", out, text)
	}
	again := script(t, dir, "images", map[string]string{"docker": "exit 1"})
	if strings.Count(again, "pinned ") != 4 {
		t.Errorf("pinned again:\n%s", again)
	}
}

// systemd's own score of the unit: 0 is fully restricted, 10 is open. The rest is there because the
// program needs the network.
func TestUnit_Security_LowExposure(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze")
	}
	const unit = "../../docs/operations/chatledger.service"
	score := func(args ...string) ([]byte, error) {
		args = append([]string{"security", "--offline=true"}, args...)
		return exec.CommandContext(t.Context(), "systemd-analyze", append(args, unit)...).CombinedOutput()
	}
	probe, err := score()
	if !strings.Contains(string(probe), "Overall exposure level") {
		t.Skipf("systemd-analyze cannot score a file here: %v %s", err, probe)
	}
	if out, err := score("--threshold=20"); err != nil { // tenths of a point; versions of systemd differ
		t.Errorf("%v\n%s", err, out)
	}
}
