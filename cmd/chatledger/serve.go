package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/cmd/internal/text"
)

type serveCmd struct {
	database
	Bots        string        `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"YAML file of the bots."`
	Listen      string        `default:"127.0.0.1:8080" env:"CHATLEDGER_LISTEN" help:"Address of the webhook, /healthz and /readyz."`
	Ops         string        `env:"CHATLEDGER_OPS" placeholder:"ADDRESS" help:"Address of /metrics, /healthz and /readyz in plain HTTP, which the world should not reach; without it /metrics is at --listen, for this machine alone."`
	Operators   string        `env:"CHATLEDGER_OPERATORS" placeholder:"ADDRESS" help:"Address of the operators' API, for example 127.0.0.1:8090; without it there is none."`
	Notice      time.Duration `default:"2s" env:"CHATLEDGER_NOTICE" help:"How long it goes on taking updates in when it is told to stop, while /readyz says no: longer than a balancer takes to see that. The rest of the end takes 8 s at most."`
	Only        server.Part   `enum:",receive,work" default:"" env:"CHATLEDGER_ONLY" placeholder:"PART" help:"Do a part of the work, beside processes that do the other: receive (take updates in, where Telegram is near) or work (all the rest, where the database is)."`
	TelegramURL string        `name:"telegram-url" default:"https://api.telegram.org" env:"CHATLEDGER_TELEGRAM_URL" help:"Bot API server."`
	tracingFlags
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(e *env) error {
	dsn, err := c.dsn()
	if err != nil {
		return err
	}
	warning, err := config.CheckDatabase(dsn)
	if err != nil {
		return err
	}
	if warning != "" {
		e.log.Warn(warning)
	}
	file, err := config.ReadToServe(c.Bots)
	if err != nil {
		return err
	}
	if err := file.Server.CheckTelegramURL(c.TelegramURL); err != nil {
		return err
	}
	listener, err := server.Listen(c.Listen, "--listen")
	if err != nil {
		return err
	}
	defer listener.Close()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	config := server.Config{
		DSN: dsn, Renew: c.dsn, Bots: file.Bots, TelegramURL: c.TelegramURL, Listener: listener, Server: file.Server,
		Log: e.log, Version: programVersion(), Tracing: c.tracing(), BotsFile: c.Bots, Hangup: hangup,
		Notice: c.Notice, Only: c.Only,
	}
	if c.Operators != "" {
		if config.Operators, err = server.Listen(c.Operators, "--operators"); err != nil {
			return err
		}
		defer config.Operators.Close()
	}
	if c.Ops != "" {
		if config.Ops, err = server.Listen(c.Ops, "--ops"); err != nil {
			return err
		}
		defer config.Ops.Close()
	}
	a, err := server.New(e.ctx, config)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "listening on %s://%s for %s\n", a.Scheme(), listener.Addr(),
		text.Plural(len(file.Bots), "bot"))
	if config.Operators != nil {
		fmt.Fprintf(e.stdout, "operators on http://%s/api/v1\n", config.Operators.Addr())
	}
	return a.Run(e.ctx)
}
