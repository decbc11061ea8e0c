package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A listener on a loopback address needs no password, because only programs on this machine reach it. But any
// web page in a browser on this machine can send requests to it, without reading the answers; and by DNS
// rebinding (the page's domain name is made to resolve to 127.0.0.1) it can read them, too. SameOrigin and Local
// reject such requests.

// SameOrigin passes the requests of programs and of the listener's own pages to next, and answers those of other
// web pages with 403. If the listener has a loopback address, the Host header must name this machine. A link
// from another site may open the page at "/".
func SameOrigin(listener net.Addr, next http.Handler) http.Handler {
	tcp, ok := listener.(*net.TCPAddr)
	loopback := ok && tcp.IP.IsLoopback()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreign(r) || loopback && !hostIsLocal(r.Host) {
			w.Header().Set("Connection", "close") // the body stays unread
			http.Error(w, "rejected: a web page of another origin made this request, or the Host is not this machine",
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// crossOrigin checks Sec-Fetch-Site, which browsers set, and Origin.
var crossOrigin = http.NewCrossOriginProtection()

// foreign reports whether a web page of another origin made the request. Browsers allow such requests
// with every method, and GET can have effects, too, as in Telegram's Bot API.
func foreign(r *http.Request) bool {
	write := r.WithContext(r.Context()) // a copy
	write.Method = http.MethodPost      // Check accepts every GET
	return crossOrigin.Check(write) != nil && !opensPage(r)
}

// opensPage reports whether the request is that of a link to the listener's page.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// hostIsLocal reports whether a Host header names this machine. Browsers always send one, so an empty one is
// accepted.
func hostIsLocal(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	address, err := netip.ParseAddr(name)
	return host == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && address.IsLoopback()
}
