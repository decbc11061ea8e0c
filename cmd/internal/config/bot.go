// Package config reads a bots file: the settings of each bot and of the server. It checks every
// setting and reports all mistakes of a file at once, each with its line.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Bot is one bot of the bots file. Token and secrets are given in plain, or by reference (see
// Resolve).
type Bot struct {
	Token     string `yaml:"token"`
	Secret    string `yaml:"secret"`
	OldSecret string `yaml:"old_secret"` // valid too, during a rotation
	PublicURL string `yaml:"public_url"` // of the webhook; when given, setWebhook is called at start

	RelaySecret string `yaml:"relay_secret"` // with which a relay signs the updates that it forwards

	AllowedUpdates Words `yaml:"allowed_updates"` // kinds; empty means all
	MaxConnections int   `yaml:"max_connections"` // of Telegram to the webhook; 0 means Telegram's maximum
	RotateOnAttack bool  `yaml:"rotate_on_attack"`

	Language      dialog.Language `yaml:"language"` // for customers whose language the bot does not know
	ReorderWindow time.Duration   `yaml:"reorder_window"`
	ChatLimit     *ChatLimit      `yaml:"chat_limit"`
	Knowledge     string          `yaml:"knowledge"` // a folder (docs/knowledge.md); empty means the built-in shop
	Orders        string          `yaml:"orders"`    // a catalogue file, or "demo"; a bot with a CRM looks orders up there
	CRM           *CRM            `yaml:"crm"`
	Zendesk       *Zendesk        `yaml:"zendesk"`
	Model         *Model          `yaml:"model"` // answers what the knowledge leaves to a model
	Rate          Rates           `yaml:"rate"`
	Retention     Retention       `yaml:"retention"`

	// Unknown says what to do about a message to a customer whose outcome is unknown: resend it once,
	// which is the default, or ask an operator.
	Unknown delivery.Policy `yaml:"unknown"`

	given map[string]string // sources of tokens and secrets, by field
	stamp string            // changes when the catalogue's file changes
}

// String keeps secrets out of logs and errors.
func (b Bot) String() string { return "bot with token " + b.given["token"] }

// Rates limit a bot's calls of Telegram; 0 is no limit. The defaults are Telegram's own limits.
type Rates struct {
	Bot   *float64 `yaml:"bot"`              // a second
	Chat  *float64 `yaml:"chat"`             // a second, to one private chat
	Group *float64 `yaml:"group_per_minute"` // to one group
}

// Telegram's limits, by the FAQ of the Bot API.
const (
	botRate   = 30
	chatRate  = 1
	groupRate = 20
)

// The lowest and the highest rate that is not 0: Telegram allows no more than the highest, and with
// less than the lowest a bot hardly answers.
const (
	minRate = 0.01
	MaxRate = 1000
)

// CRM is the CRM that a bot's tools use: any that serves docs/crm-openapi.yaml. Both
// fields may be references.
type CRM struct {
	URL   string `yaml:"url"`
	Token string `yaml:"token"` // empty when the CRM needs none
}

// ChatLimit is how many messages of a chat are answered within a window.
type ChatLimit struct {
	Count  int           `yaml:"count"`
	Window time.Duration `yaml:"window"`
}

// defaultChatLimit is more than a customer writes who gets answers at once.
var defaultChatLimit = ChatLimit{Count: 10, Window: time.Minute}

// MaxReorderWindow is far below the 60 s that Telegram waits for a webhook's answer, and short enough
// for customers.
const MaxReorderWindow = 2 * time.Second

// minRelaySecret is the length, in characters, of a key that a signed body does not let one find.
const minRelaySecret = 32

var (
	BotName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	secret  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
)

// check validates a bot, follows references and sets defaults. Its error joins every mistake.
func (b *Bot) check(name string) error {
	var wrong []error
	if !BotName.MatchString(name) {
		wrong = append(wrong, errors.New("a name is 1 to 32 of a-z 0-9 _ -, beginning with a letter or digit"))
	}
	if strings.HasPrefix(name, "chat-") || strings.HasPrefix(name, "bot-") {
		wrong = append(wrong,
			errors.New("a name must not begin with chat- or bot-: these are prefixes of streams"))
	}
	b.given = map[string]string{}
	unknown := map[string]bool{}
	for _, field := range b.references() {
		b.given[field.name] = source(*field.value)
		value, err := Resolve(*field.value)
		if err != nil {
			unknown[field.name] = true
			wrong = append(wrong, In(fmt.Errorf("%s: %w", field.name, err), strings.Split(field.name, ": ")...))
		}
		*field.value = value
	}
	if b.Token == "" && !unknown["token"] {
		wrong = append(wrong, In(errors.New("token is missing: BotFather shows it"), "token"))
	}
	if !secret.MatchString(b.Secret) && !unknown["secret"] {
		wrong = append(wrong,
			In(errors.New("secret must be 1 to 256 of A-Z a-z 0-9 _ -; without it every webhook request is rejected"),
				"secret"))
	}
	if b.OldSecret != "" && !secret.MatchString(b.OldSecret) {
		wrong = append(wrong, In(errors.New("old_secret must be 1 to 256 of A-Z a-z 0-9 _ -"), "old_secret"))
	}
	if b.RelaySecret != "" && len(b.RelaySecret) < minRelaySecret {
		wrong = append(wrong,
			In(fmt.Errorf("relay_secret must have %d characters or more", minRelaySecret), "relay_secret"))
	}
	if b.CRM != nil {
		if err := outbound.CheckBaseURL(b.CRM.URL); err != nil {
			wrong = append(wrong, In(fmt.Errorf("crm: url: %w", err), "crm", "url"))
		}
	}
	if b.Zendesk != nil {
		if err := b.Zendesk.check(); err != nil {
			wrong = append(wrong, In(fmt.Errorf("zendesk: %w", err), "zendesk"))
		}
	}
	if b.Model != nil {
		if err := b.Model.check(); err != nil {
			wrong = append(wrong, In(fmt.Errorf("model: %w", err), "model"))
		}
	}
	b.stamp = stampOf(b.Orders)
	return errors.Join(append(wrong, b.checkSettings())...)
}

// reference is a field that may refer to its value.
type reference struct {
	name  string
	value *string
}

func (b *Bot) references() []reference {
	all := []reference{
		{"token", &b.Token}, {"secret", &b.Secret}, {"old_secret", &b.OldSecret},
		{"relay_secret", &b.RelaySecret},
	}
	if b.CRM != nil {
		all = append(all, reference{"crm: url", &b.CRM.URL}, reference{"crm: token", &b.CRM.Token})
	}
	if b.Zendesk != nil {
		all = append(all, b.Zendesk.references()...)
	}
	if b.Model != nil {
		all = append(all, b.Model.references()...)
	}
	return all
}

// checkSettings checks the settings other than tokens and secrets.
func (b *Bot) checkSettings() error {
	var wrong []error
	no := func(bad bool, field, format string, args ...any) {
		if bad {
			wrong = append(wrong, In(fmt.Errorf(format, args...), field))
		}
	}
	no(b.ReorderWindow < 0 || b.ReorderWindow > MaxReorderWindow, "reorder_window",
		"reorder_window must be between 0 and %s", MaxReorderWindow)
	no(b.Unknown != "" && b.Unknown != delivery.Resend && b.Unknown != delivery.Ask, "unknown",
		"unknown is what to do about a message that may have arrived: %s or %s", delivery.Resend, delivery.Ask)
	no(b.CRM != nil && b.Orders != "", "orders",
		"orders and crm exclude each other: a bot with a CRM looks orders up there")
	if b.ChatLimit == nil {
		b.ChatLimit = &defaultChatLimit
	}
	no(b.ChatLimit.Count < 0 || b.ChatLimit.Count > chat.MaxLimit || b.ChatLimit.Count > 0 && b.ChatLimit.Window <= 0,
		"chat_limit", "chat_limit: count is 0 (off) to %d, with a window such as 60s", chat.MaxLimit)
	no(b.MaxConnections < 0 || b.MaxConnections > telegram.MaxConnections, "max_connections",
		"max_connections is 1 to %d", telegram.MaxConnections)
	for _, kind := range b.AllowedUpdates {
		no(!slices.Contains(telegram.UpdateKinds, kind), "allowed_updates",
			"allowed_updates: %q does not exist: choose from %s", kind, strings.Join(telegram.UpdateKinds, ", "))
	}
	if u, err := url.Parse(b.PublicURL); b.PublicURL != "" {
		no(err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "", "public_url",
			"public_url is the address at which Telegram reaches the webhook, such as https://bot.example.com/webhook/shop")
	}
	no(b.RotateOnAttack && b.PublicURL == "", "rotate_on_attack",
		"rotate_on_attack needs a public_url, to register the new address at Telegram")
	wrong = append(wrong, In(b.Retention.check(), "retention"), In(b.Rate.Complete(), "rate"))
	return errors.Join(wrong...)
}

// Complete sets the defaults, and checks the rates.
func (r *Rates) Complete() error {
	var wrong []error
	for _, one := range []struct {
		name     string
		rate     **float64
		telegram float64
	}{{"bot", &r.Bot, botRate}, {"chat", &r.Chat, chatRate}, {"group_per_minute", &r.Group, groupRate}} {
		if *one.rate == nil {
			*one.rate = &one.telegram
		}
		if n := **one.rate; n != 0 && !(n >= minRate && n <= MaxRate) {
			wrong = append(wrong,
				In(fmt.Errorf("rate: %s must be 0 (no limit) or %g to %d", one.name, minRate, MaxRate), one.name))
		}
	}
	return errors.Join(wrong...)
}

// Limits returns the rates as limits of deliveries.
func (b Bot) Limits() delivery.Limits {
	of := func(rate *float64) float64 {
		if rate == nil {
			return 0
		}
		return *rate
	}
	return delivery.Limits{Bot: of(b.Rate.Bot), Chat: of(b.Rate.Chat), Group: of(b.Rate.Group)}
}

// Receiver returns the bot's settings for the webhook, without the valid secrets.
func (b Bot) Receiver(name string) telegram.Bot {
	return telegram.Bot{Name: name, RelayKey: b.RelaySecret, ReorderWindow: b.ReorderWindow,
		Limit: chat.Limit{Count: b.ChatLimit.Count, Window: b.ChatLimit.Window}}
}

// Policy returns what to do about a delivery of a kind after an attempt with an unknown outcome.
func (b Bot) Policy(kind domain.DeliveryKind) delivery.Policy {
	// These may be repeated: the second time changes nothing.
	if _, tool := chat.ToolOf(kind); tool || kind == domain.KindAskModel || kind == domain.KindAnswerButton {
		return delivery.Repeat
	}
	if slices.Contains(ZendeskKinds, kind) { // the sender looks for the first one before it repeats
		return delivery.Repeat
	}
	return cmp.Or(b.Unknown, delivery.Resend)
}

// ReadOrders returns the catalogue in which the bot looks orders up, or nil.
func (b Bot) ReadOrders() (crm.Orders, error) {
	switch b.Orders {
	case "":
		return nil, nil
	case "demo":
		return crm.Demo, nil
	default:
		catalogue, err := crm.ReadCatalogue(b.Orders)
		return catalogue, Advise(err)
	}
}
