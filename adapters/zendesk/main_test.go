package zendesk_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"

	"github.com/google/uuid"

	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	email  = "bot@example.com"
	token  = "s3cret-token"
	secret = "hook-secret"
)

var (
	stream   = domain.ChatStream("demo", 42)
	external = commands.ExternalID(stream, "#1")
	newCase  = commands.CreateTicket{
		ExternalID: external,
		Subject:    "Refund",
		Comment:    "Where is my money?",
		Requester:  "Ann",
		Priority:   "high",
		Tags:       []string{"chatledger"},
	}
)

// simulate starts the Zendesk simulator behind an HTTP server.
func simulate(t *testing.T, options zendesksim.Options) (*zendesksim.Server, string) {
	t.Helper()
	options.Email, options.Token = email, token
	server := zendesksim.New(options)
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return server, front.URL
}

// senders returns new senders, with empty caches.
func senders(t *testing.T, account zendesk.Account) zendesk.Clients {
	t.Helper()
	if account.Email == "" {
		account.Email = email
	}
	if account.Token == "" {
		account.Token = token
	}
	if account.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		account.Transport = transport
		t.Cleanup(transport.CloseIdleConnections)
	}
	client, err := zendesk.NewClient(account)
	if err != nil {
		t.Fatal(err)
	}
	return zendesk.Clients{"demo": client}
}

// claimed returns a new delivery, claimed for its first attempt. A string is used as the body.
func claimed(t *testing.T, kind domain.DeliveryKind, payload any) commands.Claimed {
	t.Helper()
	body, raw := payload.(string)
	if !raw {
		encoded, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	return commands.Claimed{
		Delivery: commands.Delivery{ID: uuid.New(), Stream: stream, Kind: kind},
		Body:     []byte(body),
		Attempt:  1,
	}
}

// again returns the delivery claimed for its next attempt, after one with an unknown outcome.
func again(d commands.Claimed) commands.Claimed {
	d.Attempt++
	d.Unsure++
	return d
}

// send makes an attempt, which must have the wanted state.
func send(t *testing.T, cs zendesk.Clients, d commands.Claimed, want domain.DeliveryState) commands.Outcome {
	t.Helper()
	got := cs.Send(t.Context(), d)
	if got.State != want {
		t.Fatalf("%s, attempt %d: %s (%s), want %s", d.Kind, d.Attempt, got.State, got.Reason, want)
	}
	return got
}

// calls returns the number of calls that a simulator has received, of one method or of all.
func calls(server *zendesksim.Server, method string) (n int) {
	for _, c := range server.Calls() {
		if method == "" || c.Method == method {
			n++
		}
	}
	return n
}

// inMemory is a transport that calls a handler without a network, for synctest.
type inMemory struct{ handler http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(r.Context()).WroteHeaders()
	answered := make(chan *http.Response, 1)
	go func() {
		defer close(answered)
		defer func() { recover() }() // the handler panics to cut the connection
		if r.Body == nil {
			r.Body = http.NoBody
		}
		recorder := httptest.NewRecorder()
		r.RequestURI = r.URL.RequestURI()
		m.handler.ServeHTTP(recorder, r)
		answered <- recorder.Result()
	}()
	select {
	case resp, ok := <-answered:
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// inBubble returns a simulator and senders for it without a network, for synctest.
func inBubble(t *testing.T, limit zendesk.Limit) (*zendesksim.Server, zendesk.Clients) {
	t.Helper()
	server := zendesksim.New(zendesksim.Options{Email: email, Token: token})
	return server, senders(t, zendesk.Account{URL: "http://zendesk.test", Transport: inMemory{server}, Limit: limit})
}
