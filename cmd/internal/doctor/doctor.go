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

// severity of a finding. The highest one decides about the exit status.
type severity int

const (
	fine severity = iota
	warning
	grave
)

var severities = []string{"ok", "warning", "error"}

// MarshalText implements encoding.TextMarshaler.
func (s severity) MarshalText() ([]byte, error) { return []byte(severities[s]), nil }

// Finding says what was checked, what was found and what to do.
type Finding struct {
	Severity severity `json:"severity"`
	What     string   `json:"what"`
	Says     string   `json:"says"`
	Do       string   `json:"do,omitempty"`
}

// found is the error of an examination with warnings or errors.
type found struct{ warnings, errors int }

func (u found) Error() string {
	return fmt.Sprintf("%s, %s", text.Plural(u.errors, "error"), text.Plural(u.warnings, "warning"))
}

// ExitStatus is 1 for warnings, 2 for errors.
func (u found) ExitStatus() int {
	if u.errors > 0 {
		return int(grave)
	}
	return int(warning)
}

const (
	// doctorPatience bounds the whole examination.
	doctorPatience = 45 * time.Second
	// certificateWarning and certificateGrave are the times before a certificate's end at which
	// doctor reports it; the alerts have the same.
	certificateWarning = 14 * 24 * time.Hour
	certificateGrave   = 3 * 24 * time.Hour
	// oldTransaction is long: our write transactions take milliseconds, and an open one holds every
	// consumer back.
	oldTransaction = 5 * time.Second
	// clocksApart is the difference that sessions, due times and Telegram's dates tolerate;
	// Telegram gives its time in seconds.
	clocksApart     = 2 * time.Second
	clocksFarApart  = 30 * time.Second
	consumersBehind = 10 * time.Second
	// deliveriesLate is much longer than rate limits and retries delay one message.
	deliveriesLate = 10 * time.Minute
	// manyPending is more than wait at Telegram while a receiver keeps up.
	manyPending = 100
	// RecentError is how long Telegram's last error is reported.
	RecentError = time.Hour
	// littleRoom is the free share of a disk below which doctor reports an error.
	littleRoom = 0.1
)

// examination is what the checks share.
type examination struct {
	Config
	file  config.File
	store *eventstore.Store // nil when the database cannot be used
	roots *x509.CertPool    // of trusted authorities; nil means the system's

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
	// The findings of each bot stand together; otherwise they keep their order.
	slices.SortStableFunc(x.findings, func(a, b Finding) int { return strings.Compare(botOf(a.What), botOf(b.What)) })
	var u found
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
	if u == (found{}) {
		return nil
	}
	return u
}

// botOf returns the bot that a finding is about, or "".
func botOf(what string) string {
	bot, ok := strings.CutPrefix(what, "bot ")
	if !ok {
		return ""
	}
	bot, _, _ = strings.Cut(bot, " ")
	return bot
}

// orElse returns fine when a check went well, otherwise s.
func orElse(well bool, s severity) severity {
	if well {
		return fine
	}
	return s
}

// unlessWell returns the advice, or "" when a check went well.
func unlessWell(well bool, do string) string {
	if well {
		return ""
	}
	return do
}

// Config has the settings of an examination.
type Config struct {
	DSN         string // of the database; "" means none
	Bots        string // path of the bots file
	TelegramURL string
	Receiver    string // URL of a running serve
	JSON        bool   // print one JSON object for each finding
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
