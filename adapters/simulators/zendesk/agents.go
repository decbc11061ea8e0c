package zendesksim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// hookTimeout is how long Zendesk waits for a webhook's answer.
	hookTimeout = 12 * time.Second
	// hookRepeats is the number of retries of a webhook that answers 503 with Retry-After, and
	// longestRetryAfter the longest wait that Zendesk accepts.
	hookRepeats       = 3
	longestRetryAfter = 60 // seconds
)

// Solve solves a ticket as an agent. It returns when the webhook was accepted, or with an error after the
// retries that Zendesk makes.
func (s *Server) Solve(ctx context.Context, id int64, agent string) error {
	return s.agent(ctx, id, agent, "solved", func(t *Ticket) { t.Status = "solved" })
}

// Reopen reopens a ticket as an agent.
func (s *Server) Reopen(ctx context.Context, id int64, agent string) error {
	return s.agent(ctx, id, agent, "reopened", func(t *Ticket) { t.Status = "open" })
}

// Comment adds a comment as an agent. Only public comments send a webhook.
func (s *Server) Comment(ctx context.Context, id int64, agent, body string, public bool) error {
	if body == "" {
		return errors.New("a comment needs a body")
	}
	event := ""
	if public {
		event = "public_comment"
	}
	return s.agent(ctx, id, agent, event, func(t *Ticket) {
		t.Comments = append(t.Comments, Comment{s.number(), agent, body, public})
	})
}

// CloseTicket closes a solved ticket, as Zendesk does after some days. It cannot be changed any more.
func (s *Server) CloseTicket(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets[id].Status = "closed"
}

// agent changes a ticket, and sends the webhook of the event's trigger.
func (s *Server) agent(ctx context.Context, id int64, agent, event string, change func(*Ticket)) error {
	s.mu.Lock()
	t := s.tickets[id]
	if t == nil || t.Status == "closed" {
		s.mu.Unlock()
		return fmt.Errorf("there is no open ticket %d", id)
	}
	change(t)
	t.UpdatedAt = time.Now().UTC()
	t.audits = append(t.audits, audit{s.number(), metadata{map[string]any{}, map[string]string{"client": "browser"}}})
	body, hook := rendered(t, agent, event), s.options.Hook
	s.mu.Unlock()
	if event == "" || hook == "" {
		return nil
	}
	return s.send(ctx, hook, body)
}

// SetHook changes the URL of webhooks.
func (s *Server) SetHook(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Hook = url
}

// rendered returns the body of a trigger's webhook.
func rendered(t *Ticket, agent, event string) []byte {
	var latest Comment
	for _, c := range t.Comments {
		if c.Public {
			latest = c
		}
	}
	return encode(0, map[string]string{
		"event": event, "external_id": t.ExternalID, "ticket_id": strconv.FormatInt(t.ID, 10), "author": agent,
		"comment_id": strconv.FormatInt(latest.ID, 10), "body": latest.Body, "updated_at": t.UpdatedAt.Format(time.RFC3339),
	}).body
}

// send sends a webhook, with the retries that Zendesk makes.
func (s *Server) send(ctx context.Context, hook string, body []byte) error {
	s.mu.Lock()
	invocation := strconv.FormatInt(s.number(), 10)
	s.mu.Unlock()
	for repeat := 0; ; repeat++ {
		status, after, err := s.post(ctx, hook, invocation, body)
		if err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
		if status/100 == 2 {
			return nil
		}
		if status != http.StatusServiceUnavailable || after <= 0 || after >= longestRetryAfter || repeat == hookRepeats {
			return fmt.Errorf("webhook: answered %d; Zendesk does not retry it", status)
		}
		select {
		case <-time.After(time.Duration(after) * s.options.RetryUnit):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) post(ctx context.Context, hook, invocation string, body []byte) (status, after int, err error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, hook, bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	timestamp := time.Now().UTC().Format(time.RFC3339)
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("X-Zendesk-Webhook-Invocation-Id", invocation)
	r.Header.Set("X-Zendesk-Webhook-Signature-Timestamp", timestamp)
	r.Header.Set("X-Zendesk-Webhook-Signature", Sign(s.options.Secret, timestamp, body))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, 0, err
	}
	resp.Body.Close()
	after, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	return resp.StatusCode, after, nil
}

// Sign returns the signature of a webhook.
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
