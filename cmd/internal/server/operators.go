package server

import (
	"context"
	"crypto/tls"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/tickets"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// newOperatorServer returns the server of the operators' API; nil when it has no listener. It has
// a guard of its own, so that guessing tokens there cannot get Telegram's requests rejected.
func (s *Server) newOperatorServer(c Config) (*sideServer, error) {
	if c.Operators == nil {
		return nil, nil
	}
	rules, err := c.Server.Rules()
	if err != nil {
		return nil, err
	}
	side := &sideServer{
		guard: guard.New(guard.Config{Rules: operatorRules(rules), Log: c.Log, Observer: guardObserver{s}}),
	}
	if side.listener = side.guard.Listener(c.Operators); s.tls != nil {
		side.listener = tls.NewListener(side.listener, s.tls.TLS())
	}
	s.logins.set(c.Server.OIDC)
	api := &operators.API{
		Provider: &s.logins,
		Accounts: accounts.New(s.Store.DB), Ledger: ledger{s.Store, s.Handler}, Handler: s.requests, Canned: &s.Bots,
		Guard: side.guard, Observer: s.metrics.OperatorRequests(), Now: s.now, Log: s.log,
	}
	routes := mux.NewRouter()
	api.Routes(routes)
	side.server = newHTTPServer(guard.Handler(s.tracing.Receive(routes)), side.guard)
	return side, nil
}

// CannedReplies implements operators.CannedReplies. It returns nil for a bot that this process
// does not serve.
func (f *fleet) CannedReplies(bot string) []string {
	if _, served := f.All()[bot]; !served {
		return nil
	}
	names := []string{}
	settings, _ := f.SettingsOf(bot)
	if k := settings.Knowledge; k != nil {
		names = slices.AppendSeq(names, maps.Keys(k.Canned))
	}
	slices.Sort(names)
	return names
}

// ledger is the store as the operators' API reads it.
type ledger struct {
	*eventstore.Store
	handler *commands.Handler
}

// State implements operators.Ledger. The handler has the chat in memory, or starts from its
// snapshot.
func (l ledger) State(ctx context.Context, stream domain.StreamID) (chat.State, domain.Version, error) {
	return l.handler.State(ctx, stream)
}

// TicketQueue implements operators.Ledger.
func (l ledger) TicketQueue(ctx context.Context, q commands.TicketQuery) ([]commands.QueuedTicket, error) {
	return tickets.NewReader(l.DB).TicketQueue(ctx, q)
}

// DeliveryStates implements operators.Ledger.
func (l ledger) DeliveryStates(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]domain.DeliveryState, error) {
	return outbox.New(l.DB).DeliveryStates(ctx, ids)
}

// Events implements operators.Ledger.
func (l ledger) Events(
	ctx context.Context, stream domain.StreamID, after domain.Version, limit int,
) ([]domain.Recorded, error) {
	events, err := l.ReadStream(ctx, l.Pool(), stream, after, limit)
	for _, r := range events {
		if err := commands.CheckReadable(r); err != nil {
			return nil, err
		}
	}
	return events, err
}
