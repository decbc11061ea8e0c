package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// The certificate at a bot's public address has metrics, also when it is not trusted.
func TestPublicCertificate_Watched_ExpiryMeasured(t *testing.T) {
	t.Parallel()
	front := httptest.NewTLSServer(http.NotFoundHandler())
	defer front.Close()
	w := newWorld(t, func(b *config.Bot) { b.PublicURL = front.URL + "/webhook/demo" })
	w.eventually("it is shown", func() string {
		_, metrics, err := get(w.url + "/metrics")
		expires := fmt.Sprintf("chatledger_certificate_not_after_seconds{bot=\"demo\",source=\"public\"} %v\n",
			float64(front.Certificate().NotAfter.Unix()))
		return unless(err == nil && strings.Contains(metrics, expires) &&
			strings.Contains(metrics, "chatledger_public_certificate_valid{bot=\"demo\"} 0\n"), "%v %s", err, metrics)
	})
}
