package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// The image and the unit cannot be run here; the tests check that their settings fit the program.

// wholeStop is how long a process takes to stop at most, --notice included.
const wholeStop = 10 * time.Second

var setting = regexp.MustCompile(`\bCHATLEDGER_\w+`)

func packaged(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/operations", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPackaging_Settings_MatchProgram(t *testing.T) {
	t.Parallel()
	_, help, _ := command(t.Context(), "serve", "--help")
	known := setting.FindAllString(help, -1)
	for _, name := range []string{"Dockerfile", "compose.yaml", "chatledger.service", "getting-real.md"} {
		for _, used := range setting.FindAllString(packaged(t, name), -1) {
			if !slices.Contains(known, used) {
				t.Errorf("%s sets %s, which serve does not know", name, used)
			}
		}
	}
}

func TestImage_Build_SelfContained(t *testing.T) {
	t.Parallel()
	file := packaged(t, "Dockerfile")
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(module))[1]
	if !regexp.MustCompile(`(?m)^FROM golang:` + version + `(@sha256:[0-9a-f]{64})? AS build$`).MatchString(file) {
		t.Errorf("the Dockerfile does not build with Go %s", version)
	}
	for _, want := range []string{
		"RUN CGO_ENABLED=0 go build ", "-X main.version=", " -o /chatledger ./cmd/chatledger\n",
		"FROM scratch\n", "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n",
		"COPY --from=build /chatledger /usr/local/bin/chatledger\n",
		"USER 65532:65532\n", "CHATLEDGER_LISTEN=0.0.0.0:8080", "CHATLEDGER_OPS=0.0.0.0:9464", "EXPOSE 8080 9464\n",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}

func TestCompose_Services_FitImage(t *testing.T) {
	t.Parallel()
	type service struct {
		Image   string
		Ports   []string
		Volumes []string
		Restart string
		Grace   string            `yaml:"stop_grace_period"`
		Env     map[string]string `yaml:"environment"`
	}
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal([]byte(packaged(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	brought := []string{"./bots.yaml"} // by whoever runs it
	for name, s := range file.Services {
		if s.Image != "chatledger" && !regexp.MustCompile(`:v?\d`).MatchString(s.Image) {
			t.Errorf("%s: image %q is of no certain version", name, s.Image)
		}
		for _, v := range s.Volumes {
			mounted, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(mounted, "./") && !slices.Contains(brought, mounted) {
				packaged(t, mounted)
			}
		}
		for _, port := range s.Ports {
			if name != "caddy" && !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is open to the world at %s", name, port)
			}
		}
	}
	serves := file.Services["chatledger"]
	if grace, err := time.ParseDuration(serves.Grace); err != nil || grace <= wholeStop {
		t.Errorf("it is killed after %q (%v) while it stops", serves.Grace, err)
	}
	if !strings.Contains(serves.Env["DATABASE_URL"], "//chatledger_app:") || serves.Restart == "" {
		t.Errorf("it serves as %q, restart %q", serves.Env["DATABASE_URL"], serves.Restart)
	}
	if migrates := file.Services["migrate"]; migrates.Env["DATABASE_URL"] == serves.Env["DATABASE_URL"] ||
		migrates.Restart != "" {
		t.Errorf("migrate has %+v", migrates)
	}
}

func TestUnit_StopTimeout_LongEnough(t *testing.T) {
	t.Parallel()
	unit := packaged(t, "chatledger.service")
	limit, err := time.ParseDuration(regexp.MustCompile(`(?m)^TimeoutStopSec=(.+)$`).FindStringSubmatch(unit)[1])
	if err != nil || limit <= wholeStop {
		t.Errorf("systemd kills it after %v (%v)", limit, err)
	}
	for _, want := range []string{"\nExecStart=/usr/local/bin/chatledger serve\n", "\nKillSignal=SIGTERM\n",
		"\nRestart=always\n", "\nType=notify\n", "\nWatchdogSec=60s\n", "\nEnvironmentFile=/etc/chatledger/environment\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit has no %q", want)
		}
	}
}
