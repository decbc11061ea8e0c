package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/text"
)

// configCmd checks a bots file without starting a server.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Print every mistake with its line, or the settings without secrets."`
}

type configCheckCmd struct {
	database
	Bots string `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"YAML file of the bots."`
}

// Run also reads the files that the bots file names: knowledge, order catalogues and the server's
// certificate.
func (c *configCheckCmd) Run(e *env) error {
	file, err := config.Read(c.Bots)
	var wrong config.Mistakes
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	if err == nil {
		wrong = file.Unreadable(e.log)
	}
	if len(wrong) > 0 {
		for _, m := range wrong {
			fmt.Fprintln(e.stdout, m)
		}
		return fmt.Errorf("%s: %s", c.Bots, text.Plural(len(wrong), "mistake"))
	}
	out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(file.Bots)) {
		fmt.Fprintf(out, "%s\n", name)
		for _, line := range file.Bots[name].Describe() {
			fmt.Fprintf(out, "  %s\t%s\n", line[0], line[1])
		}
	}
	fmt.Fprintln(out, "server:")
	for _, line := range file.Server.Describe() {
		fmt.Fprintf(out, "  %s\t%s\n", line[0], line[1])
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, m := range file.Unencrypted() {
		fmt.Fprintf(e.stdout, "warning: %v; serve rejects it\n", m)
	}
	dsn, err := c.resolved()
	if err != nil {
		return err
	}
	warning, err := config.CheckDatabase(dsn)
	if err != nil {
		warning = err.Error() + "; serve rejects it"
	}
	if warning != "" && dsn != "" {
		fmt.Fprintln(e.stdout, "warning: "+warning)
	}
	return nil
}
