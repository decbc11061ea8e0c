package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/commands"
)

// operatorCmd keeps the list of who may use the operators' API.
type operatorCmd struct {
	Add      operatorAddCmd      `cmd:"" help:"Let somebody in, and print their token; or give them another role and token."`
	Password operatorPasswordCmd `cmd:"" help:"Make somebody a password to log in with, and print it; their sessions end."`
	List     operatorListCmd     `cmd:"" help:"List who may use the operators' API."`
	Disable  operatorDisableCmd  `cmd:"" help:"End somebody's access."`
}

type operatorAddCmd struct {
	database
	Role commands.Role `default:"agent" enum:"viewer,agent,admin" help:"viewer reads, agent acts on chats, admin takes a chat from another, too."`
	Name string        `arg:"" help:"Their name, under which events keep what they do."`
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
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	token, hash := operators.NewToken()
	if err := store.PutOperator(e.ctx, c.Name, c.Role, hash); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s is %s, with this token, which is not shown again:\n%s\n", c.Name, c.Role, token)
	return nil
}

// Run prints the password, which nobody can see again.
func (c *operatorPasswordCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	password, hash := operators.NewPassword()
	if err := store.SetPassword(e.ctx, c.Name, hash); err != nil {
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
	list, err := store.Operators(e.ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\trole\tsince\tlast seen\t")
	for _, o := range list {
		seen, disabled := "never", ""
		if !o.LastSeen.IsZero() {
			seen = o.LastSeen.UTC().Format(time.DateTime)
		}
		if o.Disabled {
			disabled = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Name, o.Role, o.Created.UTC().Format(time.DateTime), seen, disabled)
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
	if err := store.DisableOperator(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s may not use the operators' API any more\n", c.Name)
	return nil
}
