package main

import "github.com/chatledger/chatledger/cmd/internal/doctor"

// doctorCmd looks at everything that must be right for the bots to serve.
type doctorCmd struct {
	database
	Bots        string `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"YAML file of the bots."`
	TelegramURL string `name:"telegram-url" default:"https://api.telegram.org" env:"CHATLEDGER_TELEGRAM_URL" help:"Bot API server."`
	Receiver    string `default:"http://127.0.0.1:8080" placeholder:"URL" help:"A running serve, by its --ops address if it has one, for its readiness and its circuit breakers."`
	JSON        bool   `name:"json" help:"One JSON object a finding."`
}

// Help is what --help says below the flags.
func (doctorCmd) Help() string {
	return "Exit status: 0 when all is well, 1 with warnings only, 2 with errors."
}

// Run prints the findings.
func (c *doctorCmd) Run(e *env) error {
	dsn, err := c.resolved()
	if err != nil {
		return err
	}
	return doctor.Run(e.ctx, doctor.Config{
		DSN: dsn, Bots: c.Bots, TelegramURL: c.TelegramURL, Receiver: c.Receiver,
		JSON: c.JSON, Stdout: e.stdout, Log: e.log,
	})
}
