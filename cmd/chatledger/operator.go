package main

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/commands"
)

// operatorCmd keeps the list of who may use the operators' API.
type operatorCmd struct {
	Add      operatorAddCmd      `cmd:"" help:"Let somebody in, and print their token; or give them another role and token."`
	Bots     operatorBotsCmd     `cmd:"" help:"Say whose bots' chats somebody may see and act on; their token stays."`
	Password operatorPasswordCmd `cmd:"" help:"Make somebody a password to log in with, and print it; their sessions end."`
	List     operatorListCmd     `cmd:"" help:"List who may use the operators' API."`
	Disable  operatorDisableCmd  `cmd:"" help:"End somebody's access."`
}

type operatorAddCmd struct {
	database
	Role commands.Role `default:"agent" enum:"viewer,agent,admin" help:"viewer reads, agent acts on chats, admin takes a chat from another, too."`
	Bots []string      `placeholder:"NAME,..." help:"The bots whose chats they may see and act on; * is all. Left out: all for somebody new, and who is there keeps theirs."`
	Name string        `arg:"" help:"Their name, under which events keep what they do."`
}
type operatorBotsCmd struct {
	database
	Name string   `arg:"" help:"Their name."`
	Bots []string `arg:"" help:"Names of bots; * is all."`
}
type operatorPasswordCmd struct {
	database
	Name string `arg:"" help:"Their name."`
}
type operatorListCmd struct{ database }
type operatorDisableCmd struct {
	database
	Name string `arg:"" help:"Their name."`
}

// Run prints the token, which nobody can see again.
func (c *operatorAddCmd) Run(e *env) error {
	if !operators.OperatorName.MatchString(c.Name) {
		return fmt.Errorf("%q is no operator's name: use 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit", c.Name)
	}
	bots, err := scope(c.Bots)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	token, hash := operators.NewToken()
	if err := accounts.New(store.DB).PutOperator(e.ctx, c.Name, c.Role, hash, bots); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s is %s, with this token, which is not shown again:\n%s\n", c.Name, c.Role, token)
	return nil
}

// Run counts at once, as each request looks.
func (c *operatorBotsCmd) Run(e *env) error {
	bots, err := scope(c.Bots)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := accounts.New(store.DB).ScopeOperator(e.ctx, c.Name, bots); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s may see and act on the chats of %s\n", c.Name, scopeOf(bots))
	return nil
}

// everyBot is how all bots are said, those included that are to come.
const everyBot = "*"

// scope is what somebody may act on by the names of bots: none at all for every bot, and
// nil when nothing is said.
func scope(names []string) ([]string, error) {
	if slices.Equal(names, []string{everyBot}) {
		return []string{}, nil
	}
	for _, name := range names {
		if !config.BotName.MatchString(name) {
			return nil, fmt.Errorf("%q is no bot's name: give names as the bots file has them, or %s alone for all", name, everyBot)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// scopeOf is a scope as it is shown.
func scopeOf(bots []string) string {
	if len(bots) == 0 {
		return "all bots"
	}
	return text.Join(bots)
}

// Run prints the password, which nobody can see again.
func (c *operatorPasswordCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	password, hash := operators.NewPassword()
	if err := accounts.New(store.DB).SetPassword(e.ctx, c.Name, hash); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s logs in with this password, which is not shown again:\n%s\n", c.Name, password)
	return nil
}

// Run prints a line for each.
func (c *operatorListCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	list, err := accounts.New(store.DB).Operators(e.ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\trole\tbots\tsince\tlast seen\t")
	for _, o := range list {
		seen, disabled := "never", ""
		if !o.LastSeen.IsZero() {
			seen = o.LastSeen.UTC().Format(time.DateTime)
		}
		if o.Disabled {
			disabled = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Name, o.Role, scopeOf(o.Bots), o.Created.UTC().Format(time.DateTime), seen, disabled)
	}
	return w.Flush()
}

// Run ends an access at once: each request looks.
func (c *operatorDisableCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := accounts.New(store.DB).DisableOperator(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s may not use the operators' API any more\n", c.Name)
	return nil
}
