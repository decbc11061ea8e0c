package main

import "github.com/chatledger/chatledger/cmd/internal/doctor"

// doctorCmd checks everything that the bots need.
type doctorCmd struct {
	database
	Bots        string `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"YAML file of the bots."`
	TelegramURL string `default:"${telegram_url}" env:"CHATLEDGER_TELEGRAM_URL" help:"Bot API server."`

	Receiver string `default:"http://127.0.0.1:8080" help:"A running serve, at its --ops address or else --listen."`
	JSON     bool   `name:"json" help:"Print one JSON object for each finding."`
}

// Help is what --help prints below the usage.
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
