package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// guardListener puts the guard in front of the listener, and TLS unless a proxy terminates it.
func (s *Server) guardListener(c Config) error {
	rules, err := c.Server.Rules()
	if err != nil {
		return err
	}
	s.guard = guard.New(guard.Config{Rules: rules, Log: c.Log, Observer: guardObserver{s}})
	s.metrics.Connections(s.guard.Connections)
	s.Listener = s.guard.Listener(c.Listener)
	if s.tls, err = c.Server.TLS.Source(s.Listener.Addr().String(), c.Log); err != nil {
		return err
	}
	if s.tls != nil {
		s.Listener = tls.NewListener(s.Listener, s.tls.TLS())
		s.metrics.ServedCertificate(s.tls.NotAfter)
	}
	return nil
}

// applySettings applies those server settings that a running server can change. A certificate that
// cannot be used changes nothing.
func (s *Server) applySettings(server config.Server) error {
	rules, err := server.Rules()
	if err != nil {
		return err
	}
	if files, ok := s.tls.(*certificates.Files); ok {
		if err := files.Move(server.TLS.Certificate, server.TLS.Key); err != nil {
			return config.In(fmt.Errorf("tls: %w", config.Advise(err)), "tls", "certificate")
		}
	}
	s.guard.SetRules(rules)
	s.logins.set(server.OIDC)
	if s.operators != nil {
		s.operators.guard.SetRules(operatorRules(rules))
	}
	return nil
}

// operatorRules returns the rules of the operators' listener. The list of allowed sources is for
// Telegram's only.
func operatorRules(rules guard.Rules) guard.Rules {
	rules.Allowed = nil
	return rules
}

// guardObserver counts what the guards reject, and queues bots whose secret somebody tries to guess.
type guardObserver struct{ server *Server }

func (o guardObserver) Rejected(reason guard.Reason) { o.server.metrics.Rejected(string(reason)) }

func (o guardObserver) SecretGuessed(bot string, source netip.Prefix) {
	advice := "run `chatledger webhook rotate` to replace the bot's secret and address"
	if b := o.server.Bots.All()[bot]; b != nil && b.config.RotateOnAttack {
		advice = "replacing the bot's secret and address"
	}
	o.server.log.Warn("many requests with a wrong webhook secret: "+advice, "bot", bot, "last_source", source)
	select {
	case o.server.guessed <- bot:
	default: // the queue is full
	}
}

// Scheme returns the URL scheme of the webhook's listener.
func (s *Server) Scheme() string {
	if s.tls != nil {
		return "https"
	}
	return "http"
}

// renewCertificate keeps the server's own certificate fresh.
func (s *Server) renewCertificate(ctx context.Context) {
	if s.tls != nil {
		s.tls.Run(ctx)
	}
}
