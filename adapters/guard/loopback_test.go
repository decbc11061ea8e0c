package guard

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// A web page of another origin in a browser on this machine can neither write to a loopback listener nor read
// from it, under any host name.
func TestSameOrigin_WebPage_Rejected(t *testing.T) {
	t.Parallel()
	loopback, wide := "127.0.0.1:8081", "0.0.0.0:8081"
	for _, c := range []struct {
		name, listener, method, host string
		headers                      map[string]string
		want                         int
	}{
		{"curl", loopback, "POST", "127.0.0.1:8081", nil, 200},
		{"curl by name", loopback, "GET", "localhost:8081", nil, 200},
		{"curl by IPv6", loopback, "GET", "[::1]:8081", nil, 200},
		{"a name below localhost", loopback, "GET", "sim.localhost", nil, 200},
		{"HTTP/1.0", loopback, "GET", "", nil, 200},
		{"the listener's page", loopback, "POST", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8081"}, 200},
		{"the listener's page in an old browser", loopback, "POST", "127.0.0.1:8081",
			map[string]string{"Origin": "http://127.0.0.1:8081"}, 200},
		{"an address typed in", loopback, "GET", "127.0.0.1:8081", map[string]string{"Sec-Fetch-Site": "none"}, 200},
		{"a link to the page", loopback, "GET", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"a form of another site", loopback, "POST", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403},
		{"a script of another site", loopback, "POST", "127.0.0.1:8081",
			map[string]string{"Origin": "https://evil.example"}, 403},
		{"a sandboxed page", loopback, "POST", "127.0.0.1:8081", map[string]string{"Origin": "null"}, 403},
		{"another port of this machine", loopback, "POST", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, 403},
		{"a picture of another site", loopback, "GET", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"a frame of another site", loopback, "GET", "127.0.0.1:8081",
			map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"DNS rebinding", loopback, "GET", "evil.example:8081", map[string]string{"Sec-Fetch-Site": "same-origin"}, 403},
		{"a host name that begins with 127.0.0.1", loopback, "GET", "127.0.0.1.evil.example", nil, 403},
		{"Prometheus in a container", wide, "GET", "chatledger:9090", nil, 200},
		{"a script of another site, all addresses", wide, "POST", "127.0.0.1:8081",
			map[string]string{"Origin": "https://evil.example"}, 403},
	} {
		h := SameOrigin(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.listener)),
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := httptest.NewRequest(c.method, "/", nil)
		r.Host = c.host
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
	}
}

// A link from another site may open only the page: a GET of another path may be a call.
func TestSameOrigin_LinkToCall_Rejected(t *testing.T) {
	t.Parallel()
	h := SameOrigin(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, http.NotFoundHandler())
	for path, want := range map[string]int{"/": 404, "/?bot=demo": 404, "/bot1:demo/sendMessage?chat_id=1&text=hi": 403} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "localhost"
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
