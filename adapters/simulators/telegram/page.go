package telegramsim

import (
	_ "embed"
	"net/http"
)

// page is the chat page: one file, nothing loaded from elsewhere.
//
//go:embed page.html
var page []byte

// pagePolicy lets the page run its own inline script and talk to this server
// only, so that even a slip in its escaping could load nothing from outside.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; " +
	"img-src data:; base-uri 'none'; form-action 'none'"

func servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(page) // a browser that left needs no page
}
