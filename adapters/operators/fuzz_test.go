package operators

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// FuzzRequest checks that any request to any route gets JSON with a documented status, and never an error of
// the server.
func FuzzRequest(f *testing.F) {
	routes := newOffice().API.routes()
	for i := range routes {
		f.Add(i, "demo:42", "limit=1&after=bnVsbA", `{"fence": 1, "text": "hi", "seconds": 60, "add": ["vip"]}`, "key")
		f.Add(i, "demo:-1", "before=9223372036854775807", `{"media": [{"kind": "photo"}], "variables": {"a": "b"}}`, "\x00")
		f.Add(i, "\xff", "bot=%00&limit=-1", `{"name": "jo", "password": "\u0000"}`, "")
	}
	known := []int{200, 204, 400, 403, 404, 405, 409, 413, 415, 422}
	f.Fuzz(func(t *testing.T, i int, chat, query, body, key string) {
		one := routes[((i%len(routes))+len(routes))%len(routes)]
		if one.needs == noLogin { // these hash a password, which is slow
			return
		}
		o := newOffice()
		r := request(one.method, one.path, "boss", body)
		r.URL.Path = prefix + one.path
		for _, variable := range []string{"{chat}", "{bot}"} {
			r.URL.Path = strings.ReplaceAll(r.URL.Path, variable, chat)
		}
		r.URL.RawQuery = query
		r.Header["Idempotency-Key"] = []string{key}
		w := httptest.NewRecorder()
		o.routes.ServeHTTP(w, r)
		if w.Code >= 300 && w.Code < 400 { // a redirect to the cleaned path
			return
		}
		if !slices.Contains(known, w.Code) || w.Code != http.StatusNoContent && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q?%s %q: %d %s", one.method, r.URL.Path, query, body, w.Code, w.Body)
		}
	})
}
