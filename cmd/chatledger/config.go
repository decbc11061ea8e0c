package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// botConfig is one bot of the bots file. Token and secrets are given in plain, or
// as env:NAME or file:PATH.
type botConfig struct {
	Token         string         `yaml:"token"`
	Secret        string         `yaml:"secret"`
	OldSecret     string         `yaml:"old_secret"` // still right, during a rotation
	PublicURL     string         `yaml:"public_url"` // of the webhook; when given, setWebhook is called at start
	ReorderWindow time.Duration  `yaml:"reorder_window"`
	ChatLimit     *chatLimit     `yaml:"chat_limit"`
	Knowledge     string         `yaml:"knowledge"` // a folder (docs/knowledge.md); the shop that comes with the program when left out
	Orders        string         `yaml:"orders"`    // a catalogue file, or "demo"; a bot with a CRM looks orders up there
	CRM           *crmConfig     `yaml:"crm"`
	Zendesk       *zendeskConfig `yaml:"zendesk"`
	Model         *modelConfig   `yaml:"model"` // answers what the knowledge leaves to it
	Rate          rates          `yaml:"rate"`
	Retention     retention      `yaml:"retention"`

	// Unknown says what follows a message to a customer that may have arrived: resend
	// it once, which is the default, or ask an operator.
	Unknown delivery.Policy `yaml:"unknown"`
}

// rates are how often a bot calls Telegram at most; 0 is no limit. What a bots file
// leaves out is Telegram's own limit.
type rates struct {
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

// The lowest and the highest rate that is not 0: Telegram lets nobody call more often
// than this, and a bot that calls more seldom might as well be switched off.
const (
	minRate = 0.01
	maxRate = 1000
)

// crmConfig is the CRM that a bot's tools use: any that serves docs/crm-openapi.yaml. Both
// fields may be references.
type crmConfig struct {
	URL   string `yaml:"url"`
	Token string `yaml:"token"` // empty when it wants none
}

type chatLimit struct {
	Count  int           `yaml:"count"`
	Window time.Duration `yaml:"window"`
}

// defaultChatLimit is what a person writes at most when answers come at once.
var defaultChatLimit = chatLimit{Count: 10, Window: time.Minute}

// maxReorderWindow keeps a webhook's answer far below Telegram's 60 s, and near
// what its customers notice.
const maxReorderWindow = 2 * time.Second

var (
	botName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	secret  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
)

// readBots reads a bots file and tells every mistake in it.
func readBots(path string) (map[string]botConfig, error) {
	return readBotsFile(path, (*botConfig).check)
}

// readBotSettings is readBots without tokens and secrets, which it does not follow.
func readBotSettings(path string) (map[string]botConfig, error) {
	return readBotsFile(path, func(b *botConfig, _ string) error { return b.checkSettings() })
}

func readBotsFile(path string, check func(b *botConfig, name string) error) (map[string]botConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bots file: %w; give one with --bots", err)
	}
	var file struct {
		Bots   map[string]botConfig `yaml:"bots"`
		Server serverConfig         `yaml:"server"` // readServer reads it
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("bots file %s: %w", path, err)
	}
	var wrong []error
	if len(file.Bots) == 0 {
		wrong = append(wrong, errors.New("it names no bots: begin with `bots:` and one name below it"))
	}
	for name, b := range file.Bots {
		if err := check(&b, name); err != nil {
			wrong = append(wrong, fmt.Errorf("bot %s: %w", name, err))
		}
		file.Bots[name] = b
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("bots file %s: %w", path, errors.Join(wrong...))
	}
	return file.Bots, nil
}

// check validates a bot and puts in what is referred to and what is left out.
func (b *botConfig) check(name string) error {
	if !botName.MatchString(name) {
		return errors.New("a name is 1 to 32 of a-z 0-9 _ -, beginning with a letter or digit")
	}
	for _, field := range b.references() {
		value, err := resolve(*field.value)
		if err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
		*field.value = value
	}
	switch {
	case b.Token == "":
		return errors.New("token is missing: BotFather gives it")
	case !secret.MatchString(b.Secret):
		return errors.New("secret must be 1 to 256 of A-Z a-z 0-9 _ -; without one every webhook request would be refused")
	case b.OldSecret != "" && !secret.MatchString(b.OldSecret):
		return errors.New("old_secret must be 1 to 256 of A-Z a-z 0-9 _ -")
	}
	if b.CRM != nil {
		if err := crm.CheckURL(b.CRM.URL); err != nil {
			return fmt.Errorf("crm: url: %w", err)
		}
	}
	if b.Zendesk != nil {
		if err := b.Zendesk.check(); err != nil {
			return fmt.Errorf("zendesk: %w", err)
		}
	}
	if b.Model != nil {
		if err := b.Model.check(); err != nil {
			return fmt.Errorf("model: %w", err)
		}
	}
	return b.checkSettings()
}

// reference is a field that may hold env:NAME or file:PATH.
type reference struct {
	name  string
	value *string
}

func (b *botConfig) references() []reference {
	all := []reference{{"token", &b.Token}, {"secret", &b.Secret}, {"old_secret", &b.OldSecret}}
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

// checkSettings is check of what is no secret.
func (b *botConfig) checkSettings() error {
	switch {
	case b.ReorderWindow < 0 || b.ReorderWindow > maxReorderWindow:
		return fmt.Errorf("reorder_window must be between 0 and %s", maxReorderWindow)
	case b.Unknown != "" && b.Unknown != delivery.Resend && b.Unknown != delivery.Ask:
		return fmt.Errorf("unknown is what follows a message that may have arrived: %s or %s", delivery.Resend, delivery.Ask)
	case b.CRM != nil && b.Orders != "":
		return errors.New("orders and crm exclude each other: a bot with a CRM looks orders up there")
	}
	if b.ChatLimit == nil {
		b.ChatLimit = &defaultChatLimit
	}
	if b.ChatLimit.Count < 0 || b.ChatLimit.Count > chat.MaxLimit || b.ChatLimit.Count > 0 && b.ChatLimit.Window <= 0 {
		return fmt.Errorf("chat_limit: count is 0 (off) to %d, with a window such as 60s", chat.MaxLimit)
	}
	if err := b.Retention.check(); err != nil {
		return err
	}
	return b.Rate.complete()
}

// complete puts in what is left out.
func (r *rates) complete() error {
	for _, one := range []struct {
		name     string
		rate     **float64
		telegram float64
	}{{"bot", &r.Bot, botRate}, {"chat", &r.Chat, chatRate}, {"group_per_minute", &r.Group, groupRate}} {
		if *one.rate == nil {
			*one.rate = &one.telegram
		}
		if n := **one.rate; n != 0 && !(n >= minRate && n <= maxRate) {
			return fmt.Errorf("rate: %s must be 0 (no limit) or %g to %d", one.name, minRate, maxRate)
		}
	}
	return nil
}

// limits are the rates as deliveries keep to them.
func (b botConfig) limits() delivery.Limits {
	of := func(rate *float64) float64 {
		if rate == nil {
			return 0
		}
		return *rate
	}
	return delivery.Limits{Bot: of(b.Rate.Bot), Chat: of(b.Rate.Chat), Group: of(b.Rate.Group)}
}

// resolve follows env:NAME and file:PATH.
func resolve(value string) (string, error) {
	if name, ok := strings.CutPrefix(value, "env:"); ok {
		found, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		return found, nil
	}
	if path, ok := strings.CutPrefix(value, "file:"); ok {
		text, err := os.ReadFile(path)
		return strings.TrimSpace(string(text)), err
	}
	return value, nil
}

// receiver is the bot as the webhook sees it.
func (b botConfig) receiver(name string) telegram.Bot {
	secrets := []string{b.Secret}
	if b.OldSecret != "" {
		secrets = append(secrets, b.OldSecret)
	}
	return telegram.Bot{Name: name, Secrets: secrets, ReorderWindow: b.ReorderWindow,
		Limit: chat.Limit{Count: b.ChatLimit.Count, Window: b.ChatLimit.Window}}
}

// policy says what follows an attempt of a kind that may have arrived.
func (b botConfig) policy(kind string) delivery.Policy {
	if _, tool := chat.ToolOf(kind); tool || kind == chat.KindAsk || kind == commands.KindAnswerButton { // twice is as good as once
		return delivery.Repeat
	}
	if slices.Contains(zendeskKinds, kind) { // looked for before a repeat
		return delivery.Repeat
	}
	return cmp.Or(b.Unknown, delivery.Resend)
}

// orders is where the bot looks orders up; nil for nowhere.
func (b botConfig) orders() (crm.Orders, error) {
	switch b.Orders {
	case "":
		return nil, nil
	case "demo":
		return crm.Demo, nil
	default:
		return crm.ReadCatalogue(b.Orders)
	}
}
