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
	a.guard = guard.New(guard.Config{Rules: rules, Log: c.Log, Observer: guardObserver{a}})
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
type guardObserver struct{ app *app }

func (o guardObserver) Rejected(reason guard.Reason) { o.app.metrics.Rejected(string(reason)) }

func (o guardObserver) SecretGuessed(bot string, source netip.Prefix) {
	o.app.log.Warn("many requests with a wrong webhook secret: "+
		"run `chatledger webhook rotate` to replace the bot's secret and address", "bot", bot, "last_source", source)
	select {
	case o.app.attacks <- bot:
	default: // enough bots are waiting
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
