package main

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"github.com/chatledger/chatledger/adapters/guard"
)

// protect puts the guard, and TLS where it is ours, in front of the listener.
func (a *app) protect(c appConfig) error {
	config, err := c.Server.guard()
	if err != nil {
		return err
	}
	config.Log, config.Observe, config.Suspicious = c.Log, func(what guard.What) { a.metrics.TurnedAway(string(what)) }, a.suspicious
	a.guard = guard.New(config)
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

// secure tells whether an address has a certificate.
func secure(address string) bool { return strings.HasPrefix(address, "https://") }
