package dev

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// A web page in the developer's browser cannot post to a simulator, and not by another name for this
// machine either.
func TestServe_ForeignPage_Rejected(t *testing.T) {
	t.Parallel()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open closers
	defer open.close()
	open.crm(on)
	for name, change := range map[string]func(*http.Request){
		"another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"DNS rebinding":  func(r *http.Request) { r.Host = "evil.example" },
	} {
		r, err := http.NewRequest(http.MethodPost, "http://"+on.Addr().String()+"/sim/faults", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
}
