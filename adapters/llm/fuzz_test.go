package llm_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/domain"
)

// answering is a transport that answers every call in the same way.
type answering func() *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	answer := a()
	answer.Request = r
	return answer, nil
}

// FuzzAnswer: from any stream of a server there is an answer that can be stored, with tokens and a cost
// that can be counted, or an error with a short reason and a wait that has an end.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"Yes\"}}]}\n\n" +
			"data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":7}}\n\n" +
			"data: [DONE]\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"\\u0000\\ud800\"},\"finish_reason\":\"stop\"}]," +
			"\"usage\":{\"prompt_tokens\":9223372036854775807,\"completion_tokens\":-1}}\n\n",
		"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-1,\"id\":\"a\"," +
			"\"function\":{\"name\":\"x\",\"arguments\":\"{\\\"n\\\":1e999,\\\"m\\\":[]}\"}}]}," +
			"\"finish_reason\":\"tool_calls\"}]}\n\n",
		": comment\n\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n", "data: {\ndata: }\n\n", "data: null\n\n",
		"{\"error\":\"x\"}", "<html>", "", "\xff\r\n\r\n",
		"data: {\"choices\":[{\"finish_reason\":\"\\u0000length\"}]}\n\n",
	} {
		f.Add(200, body, "")
		f.Add(429, body, "Wed, 21 Oct 2099 07:28:00 GMT")
		f.Add(503, body, "18446744073709551615")
	}
	f.Fuzz(func(t *testing.T, status int, body, retryAfter string) {
		if status < 200 || status > 599 {
			return
		}
		client, err := llm.NewClient(llm.Config{URL: "http://model.test/v1", Key: key, Name: "small-1",
			PriceIn: 0.5, PriceOut: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Through(func(http.RoundTripper) http.RoundTripper {
			return answering(func() *http.Response {
				return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}},
					Body: io.NopCloser(strings.NewReader(body))}
			})
		})
		reply, err := client.Ask(t.Context(), question("?"))
		if err != nil {
			e, ok := errors.AsType[*llm.Error](err)
			if !ok || e.State != domain.DeliveryRetry && e.State != domain.DeliveryRefused || e.Reason == "" ||
				utf8.RuneCountInString(e.Reason) > 2000 || e.After < 0 || e.After > 24*time.Hour {
				t.Errorf("%d %q: %+v", status, body, err)
			}
			return
		}
		if status > 299 || reply.TokensIn < 0 || reply.TokensOut < 0 || reply.Cost < 0 || reply.TokensIn+reply.TokensOut < 0 {
			t.Errorf("%d %q: %+v", status, body, reply)
		}
		texts := []string{reply.Text}
		for _, call := range reply.Calls {
			texts = append(texts, call.ID, call.Tool, call.Problem)
			for name, value := range call.Input {
				texts = append(texts, name, value)
			}
		}
		for _, text := range texts {
			if strings.Contains(text, "\x00") || !utf8.ValidString(text) {
				t.Errorf("%q has a text that cannot be stored: %q", body, text)
			}
		}
	})
}
