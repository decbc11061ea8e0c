package crm

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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

// FuzzCalls: from any answer of the CRM, each call has a complete result or an error with a short reason
// and a wait that has an end.
func FuzzCalls(f *testing.F) {
	for _, body := range []string{
		`{"id":"R-1","customer":"C-1","address":"7 Elm Road","updated_at":"2026-05-01T12:00:00Z"}`,
		`{"id":"R-1","amount":"1 EUR","days":3}`, `{"number":"D-1","days":-1e999}`,
		`{"type":"about:blank","detail":"\u0000\ud800","status":422}`,
		`{"answers":[{"kind":"invoice","key":"1001","owner":"C-1","status":"found","invoice":{"number":"1"}}]}`,
		`{}`, `null`, `[]`, `<html>`, ``, "\xff",
	} {
		f.Add(200, body, "application/json", "")
		f.Add(422, body, "application/problem+json", "")
		f.Add(429, body, "text/plain", "Wed, 21 Oct 2099 07:28:00 GMT")
		f.Add(503, body, strings.Repeat("x", 9000), "18446744073709551615")
	}
	f.Fuzz(func(t *testing.T, status int, body, kind, retryAfter string) {
		if status < 200 || status > 599 { // the transport's own
			return
		}
		c, err := NewClient("http://crm.test", "token")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Through(func(http.RoundTripper) http.RoundTripper {
			return answering(func() *http.Response {
				header := http.Header{"Content-Type": {kind}, "Retry-After": {retryAfter}}
				return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
			})
		})
		ctx := t.Context()
		receipt, changed := c.UpdateBillingAddress(ctx, "key", "C-1", "7 Elm Road")
		refund, refunded := c.RefundDuplicate(ctx, "key", "C-1", "1001", "ch-1")
		report, reported := c.ReportDeliveryProblem(ctx, "key", "C-1", "1001", "damaged", "")
		if changed == nil && receipt.ID == "" || refunded == nil && refund.ID == "" ||
			reported == nil && report.Number == "" {
			t.Errorf("%d %q is taken for done", status, body)
		}
		for _, err := range []error{changed, refunded, reported} {
			if err == nil {
				continue
			}
			e := failure(t, err)
			if e.State != domain.DeliveryRetry && e.State != domain.DeliveryRefused && e.State != domain.DeliveryUnknown ||
				e.Reason == "" || utf8.RuneCountInString(e.Reason) > 2000 || e.After < 0 || e.After > 24*time.Hour {
				t.Errorf("%d %q: %.3000s, after %v", status, body, err, e.After)
			}
		}
	})
}
