package telegram

import "net/http"

// Bounded is how a client reads the answers of a transport.
func Bounded(next http.RoundTripper) http.RoundTripper { return bounded{next} }
