package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/chatledger/chatledger/adapters/telegram"
)

// address is the public address with a path below it.
func (b botConfig) address(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(b.PublicURL, "/")+"/"+path, "/")
}

// secretAt is the secret of an address: that of the bots file at the bot's own, and
// elsewhere one that only who knows the token can make. So no process needs to keep it,
// and each can tell it to Telegram again.
func (b botConfig) secretAt(path string) string {
	if path == "" {
		return b.Secret
	}
	mac := hmac.New(sha256.New, []byte(b.Token))
	mac.Write([]byte("webhook " + path))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// written are the digests of the secrets in the bots file.
func (b botConfig) written() [][32]byte {
	digests := [][32]byte{telegram.DigestOf(b.Secret)}
	if b.OldSecret != "" {
		digests = append(digests, telegram.DigestOf(b.OldSecret))
	}
	return digests
}

// registration is what Telegram is told of an address.
func (b botConfig) registration(path string) telegram.Registration {
	return telegram.Registration{URL: b.address(path), Secret: b.secretAt(path), AllowedUpdates: b.AllowedUpdates, MaxConnections: b.MaxConnections}.Complete()
}

// probeKey shows that its bearer has the bot's token. It opens nothing but this question.
func (b botConfig) probeKey() string {
	mac := hmac.New(sha256.New, []byte(b.Token))
	mac.Write([]byte("release"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// secure reports whether the bot's public address is an https one.
func (b botConfig) secure() bool { return strings.HasPrefix(b.PublicURL, "https://") }
