package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
)

// protect puts the guard, and TLS where it is ours, in front of the listener.
func (a *app) protect(c appConfig) error {
	rules, err := c.Server.rules()
	if err != nil {
		return err
	}
	a.guard = guard.New(guard.Config{Rules: rules, Log: c.Log, Observe: a.turnedAway, Suspicious: a.suspicious})
	a.metrics.Connections(a.guard.Connections)
	a.listener = a.guard.Listener(a.listener)
	if a.tls, err = c.Server.TLS.source(a.listener.Addr().String(), c.Log); err != nil {
		return err
	}
	if a.tls != nil {
		a.listener = tls.NewListener(a.listener, a.tls.TLS())
		a.metrics.ServedCertificate(a.tls.NotAfter)
	}
	return nil
}

// rearm has the running server go by other settings, as far as they are within reach. A
// certificate that cannot be used changes nothing.
func (a *app) rearm(server serverConfig) error {
	rules, err := server.rules()
	if err != nil {
		return err
	}
	if files, ok := a.tls.(*certificates.Files); ok {
		if err := files.Move(server.TLS.Certificate, server.TLS.Key); err != nil {
			return in(fmt.Errorf("tls: %w", advise(err)), "tls", "certificate")
		}
	}
	a.guard.Follow(rules)
	if a.people != nil {
		a.people.guard.Follow(forPeople(rules))
	}
	return nil
}

// forPeople are the rules of the operators' listener: the list says where Telegram may be.
func forPeople(rules guard.Rules) guard.Rules {
	rules.Allowed = nil
	return rules
}

func (a *app) turnedAway(what guard.What) { a.metrics.TurnedAway(string(what)) }

// suspicious is told once of each pattern of bad secrets.
func (a *app) suspicious(bot string, source netip.Prefix) {
	a.log.Warn("somebody guesses a bot's secret: `chatledger webhook rotate` gives it a new one, and a new address", "bot", bot, "last from", source)
	select {
	case a.attacks <- bot:
	default: // as many wait to be dealt with as need be
	}
}

// scheme is how the listener is spoken to.
func (a *app) scheme() string {
	if a.tls != nil {
		return "https"
	}
	return "http"
}

// renewCertificate keeps the server's own certificate fresh.
func (a *app) renewCertificate(ctx context.Context) {
	if a.tls != nil {
		a.tls.Run(ctx)
	}
}
