package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/chat"
)

// FuzzBotsFile: a bots file is rejected in one line, or its settings are within their limits.
func FuzzBotsFile(f *testing.F) {
	for _, text := range []string{
		"", "bots:", "bots: {}", "bots: {demo: {token: '1:x', secret: s}}", "bots: {demo: null}", "bots: [1]", "a: &a [*a]",
		"bots: {demo: {<<: *x}}",
		"bots: {shop: {token: env:T, secret: file:/x, old_secret: o, public_url: 'https://x', reorder_window: 150ms, " +
			"chat_limit: {count: 3, window: 10s}, unknown: ask}}",
		"bots: {shop: {rate: {bot: 25, chat: 0, group_per_minute: .inf}, retention: {raw: 90d, quarantine: 2160h}, " +
			"orders: demo}}",
		"bots: {shop: {crm: {url: 'https://crm.example.com', token: x}}}", "bots: {shop: {retention: {raw: 99999d}}}",
		"bots: {shop: {zendesk: {url: 'https://s.zendesk.com', email: a@b, token: x, webhook_secret: s}}}",
	} {
		f.Add(text)
	}
	path := filepath.Join(f.TempDir(), "bots.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		bots, err := config.ReadSettings(path) // without what is referred to, which may be any file
		if err != nil {
			if said := telemetry.OneLine(err.Error()); said == "" || strings.Contains(said, "\n") {
				t.Errorf("%q is refused with %q", text, said)
			}
			return
		}
		for name, b := range bots {
			if b.ReorderWindow < 0 || b.ReorderWindow > config.MaxReorderWindow || b.ChatLimit == nil || b.ChatLimit.Count < 0 ||
				b.ChatLimit.Count > chat.MaxLimit {
				t.Errorf("bot %q: %+v", name, b)
			}
			if l := b.Limits(); !(l.Bot >= 0 && l.Bot <= config.MaxRate && l.Chat >= 0 && l.Chat <= config.MaxRate &&
				l.Group >= 0 && l.Group <= config.MaxRate) {
				t.Errorf("bot %q: %+v", name, l)
			}
			for _, k := range []config.Keep{b.Retention.Raw, b.Retention.Quarantine} {
				if d := time.Duration(k); d != 0 && (d < config.MinKeep || d > config.MaxKeep) {
					t.Errorf("bot %q keeps for %v", name, d)
				}
			}
		}
	})
}
