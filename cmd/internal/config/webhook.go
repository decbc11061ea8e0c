package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/chatledger/chatledger/adapters/telegram"
)

// Address returns the public address with a path below it.
func (b Bot) Address(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(b.PublicURL, "/")+"/"+path, "/")
}

// SecretAt returns the secret of an address: the secret of the bots file at the bot's own address, and
// elsewhere one that is derived from the token. So no process has to store it, and each can register it
// at Telegram again.
func (b Bot) SecretAt(path string) string {
	if path == "" {
		return b.Secret
	}
	mac := hmac.New(sha256.New, []byte(b.Token))
	mac.Write([]byte("webhook " + path))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Written returns the digests of the secrets in the bots file.
func (b Bot) Written() [][32]byte {
	digests := [][32]byte{telegram.DigestOf(b.Secret)}
	if b.OldSecret != "" {
		digests = append(digests, telegram.DigestOf(b.OldSecret))
	}
	return digests
}

// Registration returns the registration of an address at Telegram.
func (b Bot) Registration(path string) telegram.Registration {
	return telegram.Registration{URL: b.Address(path), Secret: b.SecretAt(path), AllowedUpdates: b.AllowedUpdates,
		MaxConnections: b.MaxConnections}.Complete()
}

// ProbeKey returns the key with which a process of the same bot asks for the release. It allows nothing
// else.
func (b Bot) ProbeKey() string {
	mac := hmac.New(sha256.New, []byte(b.Token))
	mac.Write([]byte("release"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Secure reports whether the bot's public address is an https one.
func (b Bot) Secure() bool { return strings.HasPrefix(b.PublicURL, "https://") }
