package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/cmd/internal/text"
)

type serveCmd struct {
	database
	Bots            string        `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"${bots_help}"`
	Listen          string        `default:"127.0.0.1:8080" env:"CHATLEDGER_LISTEN" help:"${serve_listen}"`
	Ops             string        `env:"CHATLEDGER_OPS" placeholder:"ADDRESS" help:"${serve_ops}"`
	Operators       string        `env:"CHATLEDGER_OPERATORS" placeholder:"ADDRESS" help:"${serve_operators}"`
	Notice          time.Duration `default:"2s" env:"CHATLEDGER_NOTICE" help:"${serve_notice}"`
	Only            server.Part   `enum:",receive,work" default:"" env:"CHATLEDGER_ONLY" help:"${serve_only}"`
	EndWritersAfter time.Duration `env:"CHATLEDGER_END_WRITERS_AFTER" placeholder:"5s" help:"${serve_end_writers}"`
	TelegramURL     string        `default:"${telegram_url}" env:"CHATLEDGER_TELEGRAM_URL" help:"Bot API server."`
	tracingFlags
}

// leastEndWriters is longer than the deadline of any write of the program, which is 4 s.
const leastEndWriters = 5 * time.Second

// serveHelp has the help texts of the flags above, by the names that the tags use.
var serveHelp = kong.Vars{
	"serve_listen": "Address of the webhook, /healthz and /readyz.",
	"serve_ops": "Address of /metrics, /healthz and /readyz in plain HTTP; do not open it to the Internet. " +
		"Without it, /metrics is served at --listen, to this machine only.",
	"serve_operators": "Address of the operators' API, for example 127.0.0.1:8090. Without it, there is none.",
	"serve_notice": "How long serve still accepts updates after a stop signal, while /readyz fails so that a load " +
		"balancer sends no more. The rest of the shutdown takes at most 8 s.",
	"serve_only": "Do only a part of the work, beside processes that do the other part: receive (accept updates, " +
		"near Telegram) or work (everything else, near the database).",
	"serve_end_writers": "End a session, in any database of the server, whose write transaction is open for longer: it " +
		"holds all consumers back. At least 5s. Without it, such a session is only named in the log.",
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(e *env) error {
	if c.EndWritersAfter != 0 && c.EndWritersAfter < leastEndWriters {
		return fmt.Errorf("--end-writers-after: %v is shorter than %v, which a write of our own may take",
			c.EndWritersAfter, leastEndWriters)
	}
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
		Notice: c.Notice, Only: c.Only, EndWriters: c.EndWritersAfter,
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
