package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// Which release stands behind an address is known to whoever answers there, and to nobody
// else: not to a proxy's settings, nor to /readyz at the same server. So it is asked there, at
// the webhook's own path, by who can show that they have the bot's token. Anybody else is
// answered as ever.

// probeKey shows that its bearer has the bot's token. It opens nothing but this question.
func (b botConfig) probeKey() string {
	mac := hmac.New(sha256.New, []byte(b.Token))
	mac.Write([]byte("release"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const (
	webhookPrefix = "/webhook/"
	bearer        = "Bearer "
)

// probed tells whether a request asks for the release at one of a bot's addresses, be it
// open or not yet.
func (a *app) probed(r *http.Request, _ *mux.RouteMatch) bool {
	if r.Method != http.MethodGet || !a.config.Only.receives() {
		return false
	}
	at, webhook := strings.CutPrefix(r.URL.Path, webhookPrefix)
	name, _, _ := strings.Cut(at, "/")
	b := a.bots.all()[name]
	return webhook && b != nil && hmac.Equal([]byte(r.Header.Get("Authorization")), []byte(bearer+b.config.probeKey()))
}

// probe answers with the release, and whether it is ready.
func (a *app) probe(w http.ResponseWriter, r *http.Request) { a.sayReady(w, r, programVersion()) }

// releaseAt is the release that answers at an address of a bot; an error when none does, or
// one that is not ready.
func releaseAt(ctx context.Context, b botConfig, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	answer, err := ask(ctx, b.address(path), b.probeKey())
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var said readiness
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxReasons)).Decode(&said); err != nil || said.Version == "" {
		return "", fmt.Errorf("%s answers without saying which release it is", b.address(path))
	}
	return said.Version, nil
}

// passOn is what to do where the new release is not found at its address.
const passOn = "have the proxy pass that on to the new release, or say with --ready where it says that it is ready"

// takesOver makes sure that a release which is ready answers at an address, and another one
// than where Telegram posts now: else the proxy does not pass the address on to it yet.
func (r registrar) takesOver(ctx context.Context, name string, b botConfig, path string) error {
	fresh, err := releaseAt(ctx, b, path)
	if err != nil {
		return fmt.Errorf("%w; %s", err, passOn)
	}
	info, all, err := r.info(ctx, name, b)
	if err != nil {
		return err
	}
	posts, _ := standing(all, name, b, info.URL)
	if posts == path || b.address(posts) != info.URL { // a move is to be finished, or Telegram posts to none of ours
		return nil
	}
	// One that cannot be asked, for it is away or knows no such question, is another one.
	if former, err := releaseAt(ctx, b, posts); err == nil && former == fresh {
		return fmt.Errorf("%s answers at %s, as it does at %s, where Telegram posts; %s", fresh, b.address(path), info.URL, passOn)
	}
	return nil
}
