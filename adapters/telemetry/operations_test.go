package telemetry

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v4"
)

const operations = "../../docs/operations/"

type rule struct {
	Alert       string            `yaml:"alert"`
	Record      string            `yaml:"record"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(operations + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(read(t, "alerts.yml"), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

// charted returns the expressions of the dashboard, with values for Grafana's variables.
func charted(t *testing.T) (all []string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "5m", "$bot", ".*").Replace(target.Expr))
		}
	}
	if len(all) == 0 {
		t.Fatal("the dashboard has no charts")
	}
	return all
}

var (
	described = regexp.MustCompile(`fqName: "(\w+)"`)
	named     = regexp.MustCompile(`\b(?:chatledger:|chatledger_|process_|go_|node_)[\w:]+`)
	parts     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// certificates is a metric that is registered later, when a certificate is served or watched.
const certificates = "chatledger_certificate_not_after_seconds"

func TestMetrics_AlertsAndCharts_Exported(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	m.Build("test")
	m.Waiting(func() int { return 0 })
	m.Pool(nil)
	m.Breaker("crm:demo", func() string { return "closed" })
	measured := map[string]bool{certificates: true}
	descs := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		measured[described.FindStringSubmatch(d.String())[1]] = true
	}
	used := map[string]bool{}
	expressions := charted(t)
	for _, r := range rules(t) {
		expressions = append(expressions, r.Expr)
		measured[r.Record] = true
	}
	for _, expr := range expressions {
		for _, name := range named.FindAllString(expr, -1) {
			base := parts.ReplaceAllString(name, "")
			if used[base] = true; !measured[base] && !measured[name] && !strings.HasPrefix(name, "node_") {
				t.Errorf("no metric %s is exported; it is used in: %s", name, expr)
			}
		}
	}
	for name := range measured {
		if strings.HasPrefix(name, "chatledger_") && !used[name] {
			t.Errorf("%s is exported, but used in no alert and no chart", name)
		}
	}
}

var heading = regexp.MustCompile(`(?m)^### (\w+)$`)

// Every alert has an entry in the run book.
func TestAlerts_Each_InRunBook(t *testing.T) {
	t.Parallel()
	book := string(read(t, "runbook.md"))
	alerts := map[string]bool{} // whether the run book has an entry; several rules may have one name
	for _, r := range rules(t) {
		if r.Record != "" {
			continue
		}
		alerts[r.Alert] = false
		if !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
			t.Errorf("%s lacks a severity (page or ticket) or a summary", r.Alert)
		}
	}
	for _, h := range heading.FindAllStringSubmatch(book, -1) {
		if _, known := alerts[h[1]]; !known {
			t.Errorf("the run book has the entry %s, but there is no such alert", h[1])
		}
		alerts[h[1]] = true
	}
	for name, entry := range alerts {
		if !entry {
			t.Errorf("the run book has no entry for %s", name)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#(\w+)\)`).FindAllStringSubmatch(book, -1) {
		if !strings.Contains(strings.ToLower(book), "\n### "+link[1]+"\n") {
			t.Errorf("the run book has no heading #%s", link[1])
		}
	}
}

// promtool's tests pass, and each alert has one in which it fires.
func TestAlerts_Conditions_Fire(t *testing.T) {
	t.Parallel()
	tests := string(read(t, "alerts_test.yml"))
	for _, r := range rules(t) {
		if r.Alert != "" && !strings.Contains(tests, "alertname: "+r.Alert+"\n") {
			t.Errorf("alerts_test.yml has no test for %s", r.Alert)
		}
	}
	promtool(t, "test", "rules", operations+"alerts_test.yml")
}

// The expressions of the dashboard are valid.
func TestDashboard_Expressions_Valid(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("groups: [{name: dashboard, rules: [\n")
	for i, expr := range charted(t) {
		fmt.Fprintf(&file, "{record: 'chart:%d', expr: %q},\n", i, expr)
	}
	file.WriteString("]}]\n")
	path := filepath.Join(t.TempDir(), "charts.yml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
	promtool(t, "check", "config", operations+"prometheus.yml")
	promtool(t, "check", "config", operations+"prometheus-compose.yml")
}

// promtool runs Prometheus's promtool: the one in PATH, or the one that .ci/promtool has fetched. Without
// either the test is skipped.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		program, err = exec.LookPath("../../bin/tools/promtool")
	}
	if err != nil {
		t.Skip("no promtool: install Prometheus or run make promtool")
	}
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
