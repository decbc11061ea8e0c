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

// protect puts the guard, and TLS where it is ours, in front of the listener.
func (a *Server) protect(c Config) error {
	rules, err := c.Server.Rules()
	if err != nil {
		return err
	}
	a.guard = guard.New(guard.Config{Rules: rules, Log: c.Log, Observer: guardObserver{a}})
	a.metrics.Connections(a.guard.Connections)
	a.Listener = a.guard.Listener(c.Listener)
	if a.tls, err = c.Server.TLS.Source(a.Listener.Addr().String(), c.Log); err != nil {
		return err
	}
	if a.tls != nil {
		a.Listener = tls.NewListener(a.Listener, a.tls.TLS())
		a.metrics.ServedCertificate(a.tls.NotAfter)
	}
	return nil
}

// rearm has the running server go by other settings, as far as they are within reach. A
// certificate that cannot be used changes nothing.
func (a *Server) rearm(server config.Server) error {
	rules, err := server.Rules()
	if err != nil {
		return err
	}
	if files, ok := a.tls.(*certificates.Files); ok {
		if err := files.Move(server.TLS.Certificate, server.TLS.Key); err != nil {
			return config.In(fmt.Errorf("tls: %w", config.Advise(err)), "tls", "certificate")
		}
	}
	a.guard.SetRules(rules)
	if a.people != nil {
		a.people.guard.SetRules(forPeople(rules))
	}
	return nil
}

// forPeople are the rules of the operators' listener: the list says where Telegram may be.
func forPeople(rules guard.Rules) guard.Rules {
	rules.Allowed = nil
	return rules
}

// guardObserver counts what the guards reject, and passes on bots whose secret is guessed.
type guardObserver struct{ app *Server }

func (o guardObserver) Rejected(reason guard.Reason) { o.app.metrics.Rejected(string(reason)) }

func (o guardObserver) SecretGuessed(bot string, source netip.Prefix) {
	advice := "run `chatledger webhook rotate` to replace the bot's secret and address"
	if b := o.app.Bots.All()[bot]; b != nil && b.config.RotateOnAttack {
		advice = "replacing the bot's secret and address"
	}
	o.app.log.Warn("many requests with a wrong webhook secret: "+advice, "bot", bot, "last_source", source)
	select {
	case o.app.attacks <- bot:
	default: // enough bots are waiting
	}
}

// Scheme is how the listener is spoken to.
func (a *Server) Scheme() string {
	if a.tls != nil {
		return "https"
	}
	return "http"
}

// renewCertificate keeps the server's own certificate fresh.
func (a *Server) renewCertificate(ctx context.Context) {
	if a.tls != nil {
		a.tls.Run(ctx)
	}
}
