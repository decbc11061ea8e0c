package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/chatledger/chatledger/"

// allowedImports are the import rules: which of our packages a package may import, by longest matching
// prefix. A package that is not listed imports none of ours.
var allowedImports = map[string][]string{
	"domain":                         {},
	"domain/domaintest":              {"domain"},
	"domain/llm":                     {"domain", "domain/dialog"},
	"domain/chat":                    {"domain", "domain/dialog", "domain/llm"},
	"domain/dialog":                  {"domain", "domain/intents"},
	"domain/dialog/dialogtest":       {"domain/dialog", "domain/intents"},
	"domain/intents":                 {},
	"commands":                       {"domain"},
	"commands/whatif":                {"domain", "commands"},
	"projections":                    {"domain"},
	"projections/rebuild":            {"domain", "projections"},
	"projections/sandbox":            {"domain", "projections"},
	"projections/projectionstest":    {"domain", "commands", "projections", "adapters/postgres", "adapters/waittest"},
	"schema":                         {},
	"adapters/llm":                   {"domain", "commands", "adapters/outbound"},
	"adapters/archive":               {"domain"},
	"adapters/bus":                   {"domain", "commands", "adapters/wait"},
	"adapters/certificates":          {},
	"adapters/certificates/certtest": {},
	"adapters/crm":                   {"domain", "commands", "adapters/outbound", "adapters/yamlfile"},
	"adapters/knowledge":             {"domain", "adapters/yamlfile"},
	"adapters/delivery":              {"domain", "commands"},
	"adapters/guard":                 {},
	"adapters/guard/guardtest":       {},
	"adapters/oidc":                  {},
	"adapters/oidc/oidctest":         {},
	"adapters/openapitest":           {},
	"adapters/operators":             {"domain", "commands", "adapters/guard"},
	"adapters/telegram":              {"domain", "commands", "adapters/guard"},
	"adapters/telegram/fixture":      {},
	"adapters/telemetry":             {"domain", "commands"},
	"adapters/outbound":              {},
	"adapters/postgres":              {},
	"adapters/postgres/eventstore": {"domain", "commands", "projections", "adapters/postgres",
		"adapters/postgres/signal", "adapters/wait"},
	"adapters/postgres/outbox": {"domain", "commands", "adapters/postgres", "adapters/postgres/signal"},
	"adapters/postgres/signal": {},
	"adapters/postgres/timers": {"domain", "commands", "adapters/postgres"},
	"adapters/postgres/importer": {"domain", "commands", "adapters/postgres", "adapters/postgres/eventstore",
		"adapters/postgres/outbox", "adapters/wait"},
	"adapters/postgres/accounts":   {"commands", "adapters/postgres"},
	"adapters/postgres/health":     {"adapters/postgres"},
	"adapters/postgres/modelusage": {"commands", "adapters/postgres"},
	"adapters/postgres/quarantine": {"adapters/postgres"},
	"adapters/postgres/retention":  {"adapters/postgres", "adapters/wait"},
	"adapters/postgres/tickets":    {"commands", "adapters/postgres"},
	"adapters/postgres/webhooks":   {"adapters/postgres"},
	"adapters/postgres/pgdev":      {},
	"adapters/postgres/pgtest":     {"adapters/postgres/pgdev", "adapters/waittest", "schema"},
	"adapters/wait":                {},
	"adapters/waittest":            {},
	"adapters/simulators/crm":      {"adapters/simulators/faults"},
	"adapters/simulators/faults":   {},
	"adapters/simulators/llm":      {"adapters/simulators/faults"},
	"adapters/simulators/telegram": {"adapters/simulators/faults"},
	"adapters/simulators/zendesk":  {"adapters/simulators/faults"},
	"adapters/yamlfile":            {},
	"adapters/zendesk":             {"domain", "commands", "adapters/guard", "adapters/outbound"},
	"cmd/internal/load":            {"domain", "commands", "adapters/telegram"},
	"cmd/internal/clock":           {},
	"cmd/internal/config":          {"domain", "commands", "adapters", "cmd/internal/text"},
	"cmd/internal/dev": {"domain", "commands", "schema", "adapters", "cmd/internal/config",
		"cmd/internal/server"},
	"cmd/internal/doctor": {"domain", "schema", "adapters", "cmd/internal/config",
		"cmd/internal/registrar", "cmd/internal/text"},
	"cmd/internal/registrar": {"domain", "commands", "adapters", "cmd/internal/config"},
	"cmd/internal/server": {"domain", "commands", "projections", "schema", "adapters", "cmd/internal/clock",
		"cmd/internal/config", "cmd/internal/registrar", "cmd/internal/systemd"},
	"cmd/internal/systemd":          {"adapters/wait"},
	"cmd/internal/text":             {},
	"cmd/internal/admin/deliveries": {"domain", "commands", "adapters/postgres", "cmd/internal"},
	"cmd/internal/terminal":         {},
	"cmd/internal/admin/authoring":  {"domain", "adapters/knowledge", "cmd/internal"},
	"cmd/internal/admin/training":   {"domain", "adapters/knowledge"},
	"cmd/internal/admin/recording":  {"domain", "adapters/postgres", "adapters/telegram/fixture", "adapters/wait"},
	"cmd/internal/admin/replay": {"domain", "commands", "projections/sandbox", "adapters/postgres", "adapters/crm",
		"adapters/telegram", "cmd/internal"},
	"cmd/internal/admin/inspect":  {"domain", "commands", "adapters/postgres", "adapters/wait"},
	"cmd/internal/admin/progress": {"projections"},
	"cmd/internal/admin/readmodel": {"adapters/postgres", "projections", "cmd/internal/admin/progress",
		"cmd/internal/terminal"},
	"cmd/internal/admin/transfer": {"domain", "commands", "adapters/postgres", "adapters/archive",
		"adapters/wait", "cmd/internal"},
	"cmd/chatledger-bench": {"cmd/internal", "domain", "commands", "projections", "schema", "adapters"},
	"cmd/chatledger":       {"cmd/internal", "domain", "commands", "projections", "schema", "adapters"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []listed
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listed
		if err := decoder.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImports_AllPackages_InwardOnly(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := allowedImports[name]
		if !known {
			t.Errorf("%s is a new package: write down what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module)
			if ok && !within(ours, allowed) {
				t.Errorf("%s imports %s", name, ours)
			}
		}
	}
}

// within reports whether a package is one of these or below one of them.
func within(name string, allowed []string) bool {
	for _, a := range allowed {
		if name == a || strings.HasPrefix(name, a+"/") {
			return true
		}
	}
	return false
}

func TestDomain_Imports_NoClockNoIO(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if !slices.Contains([]string{"domain", "domain/chat", "domain/dialog", "domain/intents", "domain/llm"}, name) {
			continue
		}
		for _, imported := range p.Imports {
			first, _, _ := strings.Cut(imported, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(imported, module) && imported != "github.com/google/uuid" {
				t.Errorf("%s imports %s", name, imported)
			}
			switch imported {
			case "context", "os", "net", "net/http", "math/rand", "math/rand/v2", "log", "log/slog", "sync":
				t.Errorf("%s imports %s: deciding needs no such thing", name, imported)
			}
		}
	}
}

func TestReplay_Imports_NoSender(t *testing.T) {
	t.Parallel()
	known := map[string]listed{}
	for _, p := range packages(t) {
		known[strings.TrimPrefix(p.ImportPath, module)] = p
	}
	for _, name := range []string{"projections", "projections/rebuild", "projections/sandbox"} {
		p, ok := known[name]
		if !ok {
			t.Fatalf("there is no package %s", name)
		}
		for _, way := range waysOut(p.Deps) {
			t.Errorf("%s reaches %s, and with it a way to send", name, way)
		}
	}
	// The rule finds a package that can send.
	for _, sender := range []string{"adapters/delivery", "adapters/telegram", "adapters/crm", "adapters/bus", "commands"} {
		if _, ok := known[sender]; !ok {
			t.Errorf("there is no package %s", sender)
		}
		if len(waysOut([]string{module + sender})) == 0 {
			t.Errorf("projections could import %s, and nobody would know", sender)
		}
	}
	if ways := waysOut(known["adapters/telegram"].Deps); !slices.Contains(ways, "net/http") {
		t.Errorf("of the ways in which Telegram is called only %q are found", ways)
	}
}

// waysOut returns the dependencies of a package through which it could send something.
func waysOut(deps []string) (ways []string) {
	for _, dep := range deps {
		ours, ok := strings.CutPrefix(dep, module)
		if ok && (strings.HasPrefix(ours, "adapters/") || ours == "commands") || dep == "net/http" {
			ways = append(ways, dep)
		}
	}
	return ways
}
