package main

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/chatledger/chatledger/adapters/certificates"
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
	a.public = map[string]string{}
	for name, b := range c.Bots {
		if strings.HasPrefix(b.PublicURL, "https://") {
			a.public[name] = b.PublicURL
		}
	}
	return nil
}

// suspicious is told once of each pattern of bad secrets.
func (a *app) suspicious(bot string, source netip.Prefix) {
	a.log.Warn("somebody guesses a bot's secret: give it a new one, and a new address", "bot", bot, "last from", source)
}

// scheme is how the listener is spoken to.
func (a *app) scheme() string {
	if a.tls != nil {
		return "https"
	}
	return "http"
}

// watchCertificates keeps the server's certificate fresh, and notes when the bots'
// public ones expire.
func (a *app) watchCertificates(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	if a.tls != nil {
		parts.Go(func() { a.tls.Run(ctx) })
	}
	said := map[string]string{} // what is wrong, by bot
	certificates.Watch(ctx, a.public, func(bot string, notAfter time.Time, err error) {
		a.metrics.PublicCertificate(bot, notAfter, err == nil)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if wrong != said[bot] && err != nil {
			a.log.Warn("the certificate at a bot's public address is not good, or cannot be seen from here", "bot", bot, "error", err)
		}
		said[bot] = wrong
	})
}
