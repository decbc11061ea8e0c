//go:build unix

package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/dialog"
)

func TestAnOperatorIsKnownByTheHashOfTheirTokenUntilDisabled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if err := s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, nil); err != nil {
		t.Fatal(err)
	}
	known := func(token byte) bool {
		t.Helper()
		o, known, err := s.OperatorOf(t.Context(), [32]byte{token})
		if err != nil || known && o.Name != "maria" {
			t.Fatal(o, err)
		}
		return known
	}
	if !known(1) || known(2) {
		t.Error("she is not known by her token, or by another")
	}
	if err := s.PutOperator(t.Context(), "maria", commands.Viewer, [32]byte{2}, nil); err != nil {
		t.Fatal(err)
	}
	if known(1) || !known(2) {
		t.Error("the former token counts still")
	}
	if err := s.SawOperator(t.Context(), "maria"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Operators(t.Context())
	if err != nil || len(list) != 1 || list[0].Role != commands.Viewer || list[0].LastSeen.IsZero() {
		t.Errorf("%+v %v", list, err)
	}
	session := [32]byte{9}
	if err := s.SetPassword(t.Context(), "maria", "hash"); err != nil {
		t.Fatal(err)
	}
	loggedIn := func() bool {
		t.Helper()
		_, known, err := s.SessionOf(t.Context(), session)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	open := func(lasts time.Duration) {
		t.Helper()
		session[0]++
		if err := s.OpenSession(t.Context(), "maria", session, lasts); err != nil {
			t.Fatal(err)
		}
	}
	if hash, err := s.Password(t.Context(), "maria"); err != nil || hash != "hash" {
		t.Error(hash, err)
	}
	for what, end := range map[string]func() error{
		"logging out":    func() error { return s.CloseSession(t.Context(), session) },
		"a new password": func() error { return s.SetPassword(t.Context(), "maria", "other") },
	} {
		if open(time.Hour); !loggedIn() {
			t.Error("she is not logged in")
		}
		if err := end(); err != nil || loggedIn() {
			t.Errorf("she is logged in after %s (%v)", what, err)
		}
	}
	if open(-time.Second); loggedIn() {
		t.Error("a session that is over counts")
	}
	open(time.Hour)
	if err := s.DisableOperator(t.Context(), "maria"); err != nil {
		t.Fatal(err)
	}
	if hash, err := s.Password(t.Context(), "maria"); known(2) || loggedIn() || hash != "" || err != nil {
		t.Error("she may still come in")
	}
	if err := s.DisableOperator(t.Context(), "jo"); err == nil {
		t.Error("nobody was shut out, and nobody says so")
	}
}

// A new token is no wider than the one before, unless that is said.
func TestAnOperatorHasTheirBotsUntilItIsSaidOtherwise(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	put := func(bots []string) func() error {
		return func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, bots) }
	}
	scope := func(bots []string) func() error {
		return func() error { return s.ScopeOperator(t.Context(), "maria", bots) }
	}
	for i, step := range []struct {
		do   func() error
		want string
	}{{put(nil), "[]"}, {put([]string{"shop", "demo"}), "[shop demo]"}, {put(nil), "[shop demo]"}, {scope([]string{"shop"}), "[shop]"},
		{func() error { return s.DisableOperator(t.Context(), "maria") }, "[shop]"}, {put(nil), "[shop]"}, {put([]string{}), "[]"}, {scope([]string{"shop"}), "[shop]"}, {scope(nil), "[]"}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		list, err := s.Operators(t.Context())
		if err != nil || len(list) != 1 || fmt.Sprint(list[0].Bots) != step.want {
			t.Errorf("step %d: %+v %v, want %s", i, list, err, step.want)
		}
	}
	if err := s.ScopeOperator(t.Context(), "jo", nil); err == nil {
		t.Error("nobody's bots were set, and nobody says so")
	}
}

// Who is let in again gets a new password, should the old one be what they were shut out for.
func TestAPasswordDoesNotOutliveAnAccess(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, step := range []func() error{
		func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, nil) },
		func() error { return s.SetPassword(t.Context(), "maria", "stolen") },
		func() error { return s.DisableOperator(t.Context(), "maria") },
		func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{2}, nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if hash, err := s.Password(t.Context(), "maria"); hash != "" || err != nil {
		t.Errorf("%q %v", hash, err)
	}
}

func TestAnOperatorHasAFewSessionsAndTheNewest(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, name := range []string{"maria", "jo"} {
		if err := s.PutOperator(t.Context(), name, commands.Agent, [32]byte{name[0]}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.OpenSession(t.Context(), "jo", [32]byte{'j'}, time.Hour); err != nil {
		t.Fatal(err)
	}
	const opened, kept = 30, 20
	for n := range opened {
		if err := s.OpenSession(t.Context(), "maria", [32]byte{'m', byte(n)}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for n := range opened {
		if _, known, err := s.SessionOf(t.Context(), [32]byte{'m', byte(n)}); known != (n >= opened-kept) || err != nil {
			t.Errorf("session %d of %d: %v %v", n, opened, known, err)
		}
	}
	if _, known, err := s.SessionOf(t.Context(), [32]byte{'j'}); !known || err != nil {
		t.Errorf("another's session: %v %v", known, err)
	}
}

// queueStore holds tickets of every kind in the read model.
func queueStore(t *testing.T) (*postgres.Store, time.Time) {
	t.Helper()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	_, err := conn.Exec(t.Context(), `
		insert into readmodel.tickets (ticket_id, stream_id, bot, chat_id, status, priority, reason, subject, assignee, opened_at, due_at, first_reply_at, resolve_by,
			reopened, escalations, updated_at, version, transaction_id, position, tags, claimed_by, claimed_until)
		select 'b' || n % 2 || ':' || n || '#1', 's' || n, 'b' || n % 2, n, (array['open', 'assigned', 'resolved', 'handed_back'])[1 + n % 4],
		       (array['urgent', 'high', 'normal', 'low'])[1 + n % 4], 'asked', 'x', case when n % 4 = 1 then 'maria' end, $1::timestamptz, $1::timestamptz + (n % 7 - 3) * interval '1 minute',
		       case when n % 5 = 0 then $1::timestamptz end, case when n % 3 > 0 then $1::timestamptz + (n % 11 - 2) * interval '1 minute' end,
		       0, 0, $1::timestamptz, 1, '1', n, case when n % 3 = 0 then array['vip', 'x'] else '{}' end, case when n % 6 = 0 then 'jo' end, case when n % 6 = 0 then $1::timestamptz + (n % 8 - 3) * interval '1 minute' end
		from generate_series(1, 400) n`, at)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, dsn), at
}

func TestTheQueueHasTheLateAndTheUrgentFirstAndEachOnceOverItsPages(t *testing.T) {
	t.Parallel()
	s, now := queueStore(t)
	var all []commands.Queued
	for q := (commands.Queue{At: now, Limit: 17}); ; {
		page, err := s.TicketQueue(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page...); len(page) < q.Limit {
			break
		}
		q.After = &page[len(page)-1].Place
	}
	seen, late, claimed := map[string]bool{}, 0, 0
	for i, q := range all {
		if seen[q.Ticket] {
			t.Errorf("%s comes twice", q.Ticket)
		}
		seen[q.Ticket] = true
		if q.Place.Overdue != (q.FirstReply.IsZero() && q.Due.Before(now) || !q.Resolve.IsZero() && q.Resolve.Before(now)) {
			t.Errorf("%+v", q)
		}
		if q.Place.Overdue {
			late++
		}
		if q.ClaimedBy != "" {
			claimed++
		}
		if (q.ClaimedBy != "") != q.ClaimedUntil.After(now) {
			t.Errorf("a claim that has run out is shown: %+v", q)
		}
		if i == 0 {
			continue
		}
		before := all[i-1]
		key := func(q commands.Queued) string {
			return fmt.Sprint(!q.Place.Overdue, q.Rank, q.Due.Format(time.RFC3339), q.Ticket)
		}
		if key(before) >= key(q) {
			t.Errorf("%s stands before %s", key(before), key(q))
		}
	}
	if len(all) != 200 || late == 0 || late == 200 || claimed == 0 {
		t.Errorf("%d tickets, %d late, %d claimed", len(all), late, claimed)
	}
}

func TestTheQueueIsFilteredByEachOfItsParameters(t *testing.T) {
	t.Parallel()
	s, now := queueStore(t)
	all, err := s.TicketQueue(t.Context(), commands.Queue{Of: []string{}, At: now, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q  commands.Queue
		is func(commands.Queued) bool
	}{
		"bot":      {commands.Queue{Bot: "b1"}, func(q commands.Queued) bool { return q.Bot == "b1" }},
		"status":   {commands.Queue{Status: "assigned"}, func(q commands.Queued) bool { return q.Status == "assigned" }},
		"priority": {commands.Queue{Priority: dialog.Urgent}, func(q commands.Queued) bool { return q.Priority == dialog.Urgent }},
		"assignee": {commands.Queue{Assignee: "maria"}, func(q commands.Queued) bool { return q.Assignee == "maria" }},
		"tag":      {commands.Queue{Tag: "vip"}, func(q commands.Queued) bool { return slices.Contains(q.Tags, "vip") }},
		"of":       {commands.Queue{Of: []string{"b1", "b7"}}, func(q commands.Queued) bool { return q.Bot == "b1" }},
		"overdue":  {commands.Queue{Overdue: true}, func(q commands.Queued) bool { return q.Place.Overdue }},
	} {
		c.q.At, c.q.Limit = now, 1000
		got, err := s.TicketQueue(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, q := range all {
			if c.is(q) {
				want = append(want, q.Ticket)
			}
		}
		var tickets []string
		for _, q := range got {
			tickets = append(tickets, q.Ticket)
		}
		if !slices.Equal(tickets, want) || len(want) == 0 || len(want) == len(all) {
			t.Errorf("%s: %d tickets, want %d of %d", name, len(tickets), len(want), len(all))
		}
	}
}
