package registrar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// Ready asks a receiver at the address of its /readyz. It returns an error when the
// receiver does not answer or is not ready.
func Ready(ctx context.Context, address string) (Readiness, error) {
	ctx, cancel := context.WithTimeout(ctx, ReadyPatience)
	defer cancel()
	answer, err := Get(ctx, address, "")
	if err != nil {
		return Readiness{}, err
	}
	defer answer.Body.Close()
	var said Readiness
	_ = json.NewDecoder(io.LimitReader(answer.Body, maxReasons)).Decode(&said) // a proxy may answer in its own words
	return said, nil
}

// Get gets a page of a receiver's, with a key where it wants one; any answer but 200 is an
// error, with the receiver's reasons where it gives some.
func Get(ctx context.Context, address, key string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err == nil && answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		var said struct{ Reasons []string }
		_ = json.NewDecoder(io.LimitReader(answer.Body, maxReasons)).Decode(&said) // others say nothing of the kind
		return nil, fmt.Errorf("%s answers %s", address, strings.Join(append([]string{answer.Status}, said.Reasons...), ": "))
	}
	return answer, err
}

// maxReasons is more than /readyz ever says, in bytes.
const maxReasons = 4 << 10

// ReadyPatience bounds the question whether a release is ready, from connecting to the answer.
const ReadyPatience = 10 * time.Second

// releaseAt is the release that answers at an address of a bot; an error when none does, or
// one that is not ready.
func releaseAt(ctx context.Context, b config.Bot, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ReadyPatience)
	defer cancel()
	answer, err := Get(ctx, b.Address(path), b.ProbeKey())
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var said Readiness
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxReasons)).Decode(&said); err != nil || said.Version == "" {
		return "", fmt.Errorf("%s answers without saying which release it is", b.Address(path))
	}
	return said.Version, nil
}

// passOn is what to do where the new release is not found at its address.
const passOn = "have the proxy pass that on to the new release, or say with --ready where it says that it is ready"

// TakesOver makes sure that a release which is ready answers at an address, and another one
// than where Telegram posts now: else the proxy does not pass the address on to it yet.
func (r Registrar) TakesOver(ctx context.Context, name string, b config.Bot, path string) error {
	fresh, err := releaseAt(ctx, b, path)
	if err != nil {
		return fmt.Errorf("%w; %s", err, passOn)
	}
	info, all, err := r.Info(ctx, name, b)
	if err != nil {
		return err
	}
	posts, _ := Standing(all, name, b, info.URL)
	if posts == path || b.Address(posts) != info.URL { // a move is to be finished, or Telegram posts to none of ours
		return nil
	}
	// One that cannot be asked, for it is away or knows no such question, is another one.
	if former, err := releaseAt(ctx, b, posts); err == nil && former == fresh {
		return fmt.Errorf("%s answers at %s, as it does at %s, where Telegram posts; %s", fresh,
			b.Address(path), info.URL, passOn)
	}
	return nil
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`

	// Version is the release. Only a probe with the bot's key gets it.
	Version string `json:"version,omitempty"`

	// Database identifies the database that the process serves (eventstore.Store.Identity).
	// Only requests from the same machine get it.
	Database string `json:"database,omitempty"`
}
