package server

import (
	"crypto/hmac"
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// Which release stands behind an address is known to whoever answers there, and to nobody
// else: not to a proxy's settings, nor to /readyz at the same server. So it is asked there, at
// the webhook's own path, by who can show that they have the bot's token. Anybody else is
// answered as ever.

const webhookPrefix = "/webhook/"

// probed tells whether a request asks for the release at one of a bot's addresses, be it
// open or not yet.
func (a *Server) probed(r *http.Request, _ *mux.RouteMatch) bool {
	if r.Method != http.MethodGet || !a.config.Only.receives() {
		return false
	}
	at, webhook := strings.CutPrefix(r.URL.Path, webhookPrefix)
	name, _, _ := strings.Cut(at, "/")
	b := a.Bots.All()[name]
	return webhook && b != nil && hmac.Equal([]byte(r.Header.Get("Authorization")), []byte("Bearer "+b.config.ProbeKey()))
}

// probe answers with the release, and whether it is ready.
func (a *Server) probe(w http.ResponseWriter, r *http.Request) { a.sayReady(w, r, a.config.Version) }
