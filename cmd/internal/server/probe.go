package server

import (
	"crypto/hmac"
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// Only the process behind a public address knows its release: a proxy's settings and /readyz at
// the same server may be about another process. So the release is requested at the webhook's own
// path, with a key that is derived from the bot's token. Other requests are answered as always.

const webhookPrefix = "/webhook/"

// isProbe reports whether a request asks for the release at an address of a bot, which need not
// be open yet.
func (s *Server) isProbe(r *http.Request, _ *mux.RouteMatch) bool {
	if r.Method != http.MethodGet || !s.config.Only.receives() {
		return false
	}
	at, webhook := strings.CutPrefix(r.URL.Path, webhookPrefix)
	name, _, _ := strings.Cut(at, "/")
	b := s.Bots.All()[name]
	given := []byte(r.Header.Get("Authorization"))
	return webhook && b != nil && hmac.Equal(given, []byte("Bearer "+b.config.ProbeKey()))
}

// probe answers with the release and the readiness.
func (s *Server) probe(w http.ResponseWriter, r *http.Request) {
	s.writeReadiness(w, r, s.config.Version)
}
