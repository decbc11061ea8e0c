// Package doctor examines everything that must be right for the bots to serve: the bots file, the
// database, the webhooks, certificates and the systems that bots call. Each finding says what to
// do.
package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/text"
)

// severity of a finding; of several the highest counts.
type severity int

const (
	fine severity = iota
	warning
	grave
)

var severities = []string{"ok", "warning", "error"}

// MarshalText has JSON say it in words.
func (s severity) MarshalText() ([]byte, error) { return []byte(severities[s]), nil }

// Finding is what was looked at, what it is like, and what to do about it.
type Finding struct {
	Severity severity `json:"severity"`
	What     string   `json:"what"`
	Says     string   `json:"says"`
	Do       string   `json:"do,omitempty"`
}

// unwell is the end of a doctor who found something.
type unwell struct{ warnings, errors int }

func (u unwell) Error() string {
	return fmt.Sprintf("%s, %s", text.Plural(u.errors, "error"), text.Plural(u.warnings, "warning"))
}

// ExitStatus is 1 for warnings, 2 for errors.
func (u unwell) ExitStatus() int {
	if u.errors > 0 {
		return int(grave)
	}
	return int(warning)
}

const (
	// doctorPatience bounds the whole examination.
	doctorPatience = 45 * time.Second
	// certificateWarning and certificateGrave are how long before its end a certificate is
	// told of, as the alerts do.
	certificateWarning = 14 * 24 * time.Hour
	certificateGrave   = 3 * 24 * time.Hour
	// Ours are open for milliseconds; seconds hold every consumer back.
	oldTransaction = 5 * time.Second
	// clocksApart is what sessions, due times and Telegram's dates can stand; Telegram
	// says its own to the second only.
	clocksApart     = 2 * time.Second
	clocksFarApart  = 30 * time.Second
	consumersBehind = 10 * time.Second
	// deliveriesLate is far beyond what limits and retries of one message take.
	deliveriesLate = 10 * time.Minute
	// manyPending is more than Telegram holds for a receiver that keeps up.
	manyPending = 100
	// RecentError is how long Telegram's last error is news.
	RecentError = time.Hour
	// littleRoom is the part of a disk below which PostgreSQL should not be left alone.
	littleRoom = 0.1
)

// examination is what the checks have in common.
type examination struct {
	Config
	file  config.File
	store *eventstore.Store // nil when it is not to be had
	roots *x509.CertPool    // who certifies; nil is the system's

	mu       sync.Mutex
	findings []Finding
}

func (x *examination) find(s severity, what, do, says string, args ...any) {
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			args[i] = telemetry.Wording(err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.findings = append(x.findings, Finding{s, what, fmt.Sprintf(says, args...), do})
}

func (x *examination) print() error {
	// By what was looked at, as it came; a bot's findings stand together.
	slices.SortStableFunc(x.findings, func(a, b Finding) int { return strings.Compare(botOf(a.What), botOf(b.What)) })
	var u unwell
	encoder := json.NewEncoder(x.Stdout)
	for _, f := range x.findings {
		switch f.Severity {
		case warning:
			u.warnings++
		case grave:
			u.errors++
		}
		if x.JSON {
			if err := encoder.Encode(f); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(x.Stdout, "%-8s %-22s %s\n", severities[f.Severity], f.What, telemetry.OneLine(f.Says))
		if f.Do != "" {
			fmt.Fprintf(x.Stdout, "%31s do: %s\n", "", f.Do)
		}
	}
	if u == (unwell{}) {
		return nil
	}
	return u
}

// botOf is the bot that a finding is about; those about none come first.
func botOf(what string) string {
	bot, ok := strings.CutPrefix(what, "bot ")
	if !ok {
		return ""
	}
	bot, _, _ = strings.Cut(bot, " ")
	return bot
}

// orElse is a severity where something is not as it should be.
func orElse(well bool, s severity) severity {
	if well {
		return fine
	}
	return s
}

// unlessWell is what to do where something is not.
func unlessWell(well bool, do string) string {
	if well {
		return ""
	}
	return do
}

// Config is what an examination needs to know.
type Config struct {
	DSN         string // of the database; "" is none
	Bots        string // path of the bots file
	TelegramURL string
	Receiver    string // URL of a running serve
	JSON        bool   // prints one object a finding
	Stdout      io.Writer
	Log         *slog.Logger
}

// Run examines and prints the findings, in the order in which the checks depend on each other.
// Its error has the exit status when there are warnings or errors.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	x := &examination{Config: c}
	x.configuration()
	x.database(ctx)
	if x.store != nil {
		defer x.store.Close()
		x.ledger(ctx)
	}
	x.outside(ctx)
	return x.print()
}
