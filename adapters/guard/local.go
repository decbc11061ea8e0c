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

// IsLocal reports whether a request comes from a program on this machine. A request that a proxy has forwarded,
// which has one of the headers below, counts as remote even if the proxy runs on this machine. So does a request
// by a web page of another origin in a browser on this machine.
func IsLocal(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header[name] != nil {
			return false
		}
	}
	return peerOf(r).IsLoopback() && hostIsLocal(r.Host) && !foreign(r)
}
