package zendesk_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// answering is a transport that returns the same answer to every call.
type answering func() *http.Response

func (o answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	answer := o()
	answer.Request = r
	return answer, nil
}

// FuzzAnswer checks that any answer of Zendesk leads to an outcome: done only if the ticket has a number,
// and with a bounded wait.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{`{"ticket":{"id":35436,"external_id":"chat-demo:42/#1"}}`, `{"ticket":{}}`,
		`{"tickets":[{"id":1}]}`, `{"tickets":null}`, `{"audits":[{"metadata":{"custom":{"key":1}}}]}`,
		`{"error":"RecordInvalid"}`,
		`{"error":{"title":"IdempotentRequestError"}}`, `<html>`, ``, `{"ticket":{"id":1e400}}`, "\xff"} {
		f.Add(200, body, "")
		f.Add(429, body, "Wed, 21 Oct 2099 07:28:00 GMT")
		f.Add(503, body, "18446744073709551615")
	}
	f.Fuzz(func(t *testing.T, status int, body, retryAfter string) {
		if status < 200 || status > 599 { // the transport handles these itself
			return
		}
		clients := senders(t, zendesk.Account{URL: "http://zendesk.test", Transport: answering(func() *http.Response {
			return &http.Response{
				StatusCode: status,
				Header:     http.Header{"Retry-After": {retryAfter}},
				Body:       io.NopCloser(bytes.NewReader([]byte(body))),
			}
		})})
		for _, d := range []commands.Claimed{
			claimed(t, domain.KindCreateTicket, newCase),
			claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"}),
		} {
			outcome := clients.Send(t.Context(), d)
			switch outcome.State {
			case domain.DeliveryDone:
				if status > 299 || len(outcome.Answer) == 0 {
					t.Errorf("%d %q leads to the outcome done: %+v", status, body, outcome)
				}
			case domain.DeliveryRetry, domain.DeliveryUnknown, domain.DeliveryRefused:
				if outcome.Reason == "" || len(outcome.Reason) > 2000 {
					t.Errorf("%d %q: the reason has %d bytes, want 1 to 2000", status, body, len(outcome.Reason))
				}
			default:
				t.Errorf("%d %q leads to the outcome %q", status, body, outcome.State)
			}
			if outcome.After < 0 || outcome.After > 24*time.Hour {
				t.Errorf("%d, Retry-After %q: the wait is %v", status, retryAfter, outcome.After)
			}
		}
	})
}
