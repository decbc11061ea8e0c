package telegramsim

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits of setWebhook.
const (
	defaultMaxConnections = 40
	maxMaxConnections     = 100
	maxSecret             = 256 // characters
	setWebhookEvery       = 1   // seconds between two changes
)

// hookSettings are the settings of setWebhook.
type hookSettings struct {
	url            string // "": no webhook, updates stay pending
	secret         string
	maxConnections int
	allowed        []string // nil: the default set
}

func (a hookSettings) equal(b hookSettings) bool {
	return a.url == b.url && a.secret == b.secret && a.maxConnections == b.maxConnections &&
		slices.Equal(a.allowed, b.allowed)
}

func (b *bot) setWebhook(p params) (answer, *apiError) {
	address := strings.TrimSpace(p["url"])
	if address == "" {
		return b.deleteWebhook(p)
	}
	// Telegram requires https and one of four ports. Here http on any port is allowed, because the webhook
	// is on the same machine.
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return answer{}, badRequest("invalid webhook URL specified")
	}
	wanted := hookSettings{url: address, secret: p["secret_token"], maxConnections: defaultMaxConnections}
	if len(wanted.secret) > maxSecret {
		return answer{}, badRequest("secret token is too long")
	}
	if strings.ContainsFunc(wanted.secret, notSecretRune) {
		return answer{}, badRequest("secret token contains unallowed characters")
	}
	if n, ok := p.integer("max_connections"); ok {
		wanted.maxConnections = int(min(max(n, 1), maxMaxConnections)) // Telegram clamps silently
	}

	h := b.hook
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted.allowed = h.settings.allowed // kept if allowed_updates is missing
	if p["allowed_updates"] != "" {
		var allowed []string
		if err := p.decode("allowed_updates", &allowed); err != nil {
			return answer{}, badRequest("can't parse allowed updates JSON object")
		}
		wanted.allowed = nil
		for _, kind := range allowed {
			wanted.allowed = append(wanted.allowed, strings.ToLower(kind))
		}
		slices.Sort(wanted.allowed)
	}
	drop := p.truth("drop_pending_updates")
	if wanted.equal(h.settings) && !drop {
		return answer{result: true, description: "Webhook is already set"}, nil
	}
	if time.Since(h.lastSet) < h.server.seconds(setWebhookEvery) {
		return answer{}, tooManyRequests(1)
	}
	h.lastSet = time.Now()
	if drop {
		h.forget()
	}
	h.replace(wanted)
	return answer{result: true, description: "Webhook was set"}, nil
}

func notSecretRune(r rune) bool {
	return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-')
}

func (b *bot) deleteWebhook(p params) (answer, *apiError) {
	h := b.hook
	h.mu.Lock()
	defer h.mu.Unlock()
	drop := p.truth("drop_pending_updates")
	had := h.settings.url != ""
	if drop {
		h.forget()
	}
	if had || drop {
		h.replace(hookSettings{maxConnections: defaultMaxConnections, allowed: h.settings.allowed})
	}
	if !had {
		return answer{result: true, description: "Webhook is already deleted"}, nil
	}
	return answer{result: true, description: "Webhook was deleted"}, nil
}

// webhookInfo is the WebhookInfo of the Bot API, which never contains the secret.
type webhookInfo struct {
	URL                  string   `json:"url"`
	HasCustomCertificate bool     `json:"has_custom_certificate"`
	PendingUpdateCount   int      `json:"pending_update_count"`
	LastErrorDate        int64    `json:"last_error_date,omitempty"`
	LastErrorMessage     string   `json:"last_error_message,omitempty"`
	MaxConnections       int      `json:"max_connections,omitempty"`
	IPAddress            string   `json:"ip_address,omitempty"`
	AllowedUpdates       []string `json:"allowed_updates,omitempty"`
}

func (b *bot) getWebhookInfo(params) (answer, *apiError) {
	h := b.hook
	h.mu.Lock()
	defer h.mu.Unlock()
	info := webhookInfo{URL: h.settings.url, PendingUpdateCount: h.pending, AllowedUpdates: h.settings.allowed}
	if info.URL != "" {
		info.MaxConnections = h.settings.maxConnections
		info.LastErrorDate, info.LastErrorMessage = h.errorDate, h.lastError
		if parsed, err := url.Parse(info.URL); err == nil {
			if address, err := netip.ParseAddr(parsed.Hostname()); err == nil {
				info.IPAddress = address.String()
			}
		}
	}
	return answer{result: info}, nil
}
