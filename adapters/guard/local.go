package guard

import "net/http"

// Local passes requests from this machine to next and answers all others with 404.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsLocal(r) {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLocal reports whether a request comes from this machine. It counts a request that a
// proxy forwarded as remote, wherever the proxy runs; such a request has one of the
// headers below. A request of a web page in a browser on this machine counts as remote, too.
func IsLocal(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header[name] != nil {
			return false
		}
	}
	return peerOf(r).IsLoopback() && hostIsLocal(r.Host) && !foreign(r)
}
