package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/certificates"
)

// Unreadable returns a mistake for each file that the settings name and that cannot be read.
func (f File) Unreadable(log *slog.Logger) Mistakes {
	r := reading{path: f.text.path, root: f.text.root}
	for _, name := range slices.Sorted(maps.Keys(f.Bots)) {
		b := f.Bots[name]
		_, orders := b.ReadOrders()
		_, known := b.ReadKnowledge(log)
		r.tell("bot "+name+": ", errors.Join(In(orders, "orders"), known), "bots", name)
	}
	if t := f.Server.TLS; t.Certificate != "" {
		_, err := certificates.Open(t.Certificate, t.Key, log)
		r.tell("server: tls: ", Advise(err), "server", "tls", "certificate")
	}
	return r.wrong
}

// Describe returns the server's settings by name, and which of them a running server applies.
func (c Server) Describe() [][2]string {
	number := func(n int, none string) string {
		if n == 0 {
			return none
		}
		return strconv.Itoa(n)
	}
	tls := c.TLS.by()
	switch {
	case c.TLS.Certificate != "":
		tls = c.TLS.Certificate + " with key " + c.TLS.Key
	case c.TLS.ACME != nil:
		tls = "made for " + strings.Join(c.TLS.ACME.Domains, ", ")
	}
	logins := "passwords"
	if c.OIDC != nil {
		logins = "passwords, and " + c.OIDC.Issuer + " with client secret " + c.OIDC.given
	}
	return [][2]string{
		{"allow", cmp.Or(strings.Join(c.Allow, ", "), "everybody")},
		{"trusted proxies", cmp.Or(strings.Join(c.TrustedProxies, ", "), "none")},
		{"connections", number(c.Connections, "the program's limit") + ", from one address " +
			number(c.PerAddress, "the program's limit")},
		{"tls", tls},
		{"plaintext", cmp.Or(strings.Join(c.Plaintext, ", "), "no token leaves this machine unencrypted")},
		{"operators log in with", logins},
		{"applied by a running serve", "all settings except the kind of tls, and acme: changes to these need a restart"},
	}
}

// Describe returns a bot's settings by name. For secrets it says where they come from.
func (b Bot) Describe() [][2]string {
	lines := [][2]string{{"token", b.given["token"]}, {"secret", b.given["secret"]}}
	add := func(there bool, name, format string, args ...any) {
		if there {
			lines = append(lines, [2]string{name, fmt.Sprintf(format, args...)})
		}
	}
	add(b.OldSecret != "", "old secret", "%s", b.given["old_secret"])
	add(b.RelaySecret != "", "relay secret", "%s", b.given["relay_secret"])
	add(true, "webhook", "%s", cmp.Or(b.PublicURL, "not registered by serve: there is no public_url"))
	r := b.Registration("")
	add(true, "updates", "%s, over at most %d connections", kindsOf(b.AllowedUpdates), r.MaxConnections)
	add(b.RotateOnAttack, "on attack", "the secret rotates")
	add(true, "limits", "%s; calls to Telegram: %g/s, %g/s to a chat, %g/min to a group (0 is no limit)",
		chatLimitOf(*b.ChatLimit), *b.Rate.Bot, *b.Rate.Chat, *b.Rate.Group)
	add(b.ReorderWindow > 0, "reorder window", "%v", b.ReorderWindow)
	add(true, "knowledge", "%s", cmp.Or(b.Knowledge, "the built-in shop"))
	add(b.Language != "", "language", "%s", b.Language)
	add(b.Orders != "", "orders", "%s", b.Orders)
	if b.CRM != nil {
		add(true, "crm", "%s, token %s", plainURL(b.given["crm: url"], b.CRM.URL), b.given["crm: token"])
	}
	if b.Zendesk != nil {
		add(true, "zendesk", "%s, token %s, webhook secret %s",
			plainURL(b.given["zendesk: url"], b.Zendesk.URL), b.given["zendesk: token"],
			b.given["zendesk: webhook_secret"])
	}
	if b.Model != nil {
		add(true, "model", "%s at %s, key %s", b.Model.Name, plainURL(b.given["model: url"], b.Model.URL),
			b.given["model: key"])
	}
	add(true, "retention", "updates %s, quarantine %s", keptFor(b.Retention.Raw), keptFor(b.Retention.Quarantine))
	return lines
}

// plainURL returns an address that is written in the file. For one that is given by reference it
// returns the reference, because the address may be secret.
func plainURL(given, address string) string {
	if given == source(address) {
		if u, err := url.Parse(address); err == nil {
			return u.Redacted()
		}
	}
	return given
}

func kindsOf(kinds []string) string {
	if len(kinds) == 0 {
		return "all kinds"
	}
	return strings.Join(kinds, ", ")
}

func chatLimitOf(l ChatLimit) string {
	if l.Count == 0 {
		return "every message of a chat is answered"
	}
	return fmt.Sprintf("%d messages of a chat in %v are answered", l.Count, l.Window)
}

func keptFor(k Keep) string {
	if k == 0 {
		return "for ever"
	}
	if d := time.Duration(k); d%(24*time.Hour) == 0 {
		return fmt.Sprintf("for %dd", d/(24*time.Hour))
	}
	return "for " + k.String()
}
