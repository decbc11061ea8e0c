package guard

import "net/http"

// Local lets this machine's own requests through to what it wraps; for others there is
// nothing there. A request that a proxy hands on is not the machine's own, wherever the
// proxy runs: it has one of these headers.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handedOn := false
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
			handedOn = handedOn || r.Header[name] != nil
		}
		if handedOn || !peerOf(r).IsLoopback() {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
