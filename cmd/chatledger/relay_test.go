package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// A relay without Telegram's secret forwards a message, and the customer is answered.
func TestRelay_SignedUpdate_Accepted(t *testing.T) {
	t.Parallel()
	const key = "the key that both sides have been given"
	w := newWorld(t, func(b *config.Bot) { b.RelaySecret = key })
	w.openChat(42)
	body := messageUpdate(1000, 42, 10, "Where is my order 1001?")
	mac := hmac.New(sha256.New, []byte(key))
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac.Write([]byte(at + "." + body))
	r, err := http.NewRequest(http.MethodPost, w.url+"/webhook/demo", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Signature-256", fmt.Sprintf("sha256=%x", mac.Sum(nil)))
	r.Header.Set("X-Signature-Timestamp", at)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the relay is answered %d", answer.StatusCode)
	}
	w.settle()
	if said := w.texts(42, "bot"); len(said) != 1 || !strings.Contains(said[0], "shipped") {
		t.Errorf("the customer is answered %q", said)
	}
}
