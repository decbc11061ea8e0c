package guard

import "net/http"

// Local passes requests from this machine to next and answers all others with 404. It
// counts a request that a proxy forwarded as remote, wherever the proxy runs; such a
// request has one of the headers below.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forwarded := false
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
			forwarded = forwarded || r.Header[name] != nil
		}
		if forwarded || !peerOf(r).IsLoopback() {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
