package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A listener on this machine needs no password, because only programs on this machine reach it. A
// browser on this machine is one of them, and any web page in it can make requests: at another
// origin without reading the answer, and by DNS rebinding, a name of its own that suddenly means
// 127.0.0.1, as if the listener were its own. SameOrigin and Local reject both.

// SameOrigin passes the requests of programs and of the listener's own pages to next and answers
// those of other web pages with 403. If the address of the listener is a loopback address, the Host
// must be one, too. A link from another site may open the page at "/".
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

// crossOrigin judges by Sec-Fetch-Site, which browsers set, and by Origin.
var crossOrigin = http.NewCrossOriginProtection()

// foreign reports whether a web page of another origin made the request. Browsers allow such requests
// with every method, and GET can have effects, too, as in Telegram's Bot API.
func foreign(r *http.Request) bool {
	write := r.WithContext(r.Context()) // a copy
	write.Method = http.MethodPost      // else it is not judged
	return crossOrigin.Check(write) != nil && !opensPage(r)
}

// opensPage reports whether the request is that of a link to the listener's page.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// hostIsLocal reports whether a Host header names this machine. Programs that send none are not
// browsers.
func hostIsLocal(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	address, err := netip.ParseAddr(name)
	return host == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && address.IsLoopback()
}
