package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/domain/chat"
)

// botConfig is one bot of the bots file. Token and secrets are given in plain, or
// as env:NAME or file:PATH.
type botConfig struct {
	Token         string        `yaml:"token"`
	Secret        string        `yaml:"secret"`
	OldSecret     string        `yaml:"old_secret"` // still right, during a rotation
	PublicURL     string        `yaml:"public_url"` // of the webhook; when given, setWebhook is called at start
	ReorderWindow time.Duration `yaml:"reorder_window"`
	ChatLimit     *chatLimit    `yaml:"chat_limit"`
	Orders        string        `yaml:"orders"` // a catalogue file, or "demo"
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
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bots file: %w; give one with --bots", err)
	}
	var file struct {
		Bots map[string]botConfig `yaml:"bots"`
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
		if err := b.check(name); err != nil {
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
	for _, field := range []struct {
		name  string
		value *string
	}{{"token", &b.Token}, {"secret", &b.Secret}, {"old_secret", &b.OldSecret}} {
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
	case b.ReorderWindow < 0 || b.ReorderWindow > maxReorderWindow:
		return fmt.Errorf("reorder_window must be between 0 and %s", maxReorderWindow)
	}
	if b.ChatLimit == nil {
		b.ChatLimit = &defaultChatLimit
	}
	if b.ChatLimit.Count < 0 || b.ChatLimit.Count > chat.MaxLimit || b.ChatLimit.Count > 0 && b.ChatLimit.Window <= 0 {
		return fmt.Errorf("chat_limit: count is 0 (off) to %d, with a window such as 60s", chat.MaxLimit)
	}
	return nil
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
