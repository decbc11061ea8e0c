package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/commands"
)

// operatorCmd manages the operators: who may use the operators' API, and on which bots.
type operatorCmd struct {
	Add      operatorAddCmd      `cmd:"" help:"Add an operator, or give one another role; print a new token."`
	Bots     operatorBotsCmd     `cmd:"" help:"Set the bots whose chats an operator may see; the token stays valid."`
	Password operatorPasswordCmd `cmd:"" help:"Set a new random password, print it, and end the operator's sessions."`
	TOTP     operatorTOTPCmd     `cmd:"" help:"Require one-time passwords; print their secret, and end the sessions."`
	OIDC     operatorOIDCCmd     `cmd:"" help:"Set the operator's login at the provider, and end the sessions."`
	List     operatorListCmd     `cmd:"" help:"List the operators."`
	Disable  operatorDisableCmd  `cmd:"" help:"Disable an operator."`
}

type operatorAddCmd struct {
	database
	Role commands.Role `default:"agent" enum:"viewer,agent,admin" help:"${operator_role}"`
	Bots []string      `placeholder:"NAME,..." help:"${operator_bots}"`
	Name string        `arg:"" help:"The operator's name, which events record."`
}
type operatorBotsCmd struct {
	database
	Name string   `arg:"" help:"The operator's name."`
	Bots []string `arg:"" help:"The names of the bots; * is all."`
}
type operatorPasswordCmd struct {
	database
	Name string `arg:"" help:"The operator's name."`
}
type operatorTOTPCmd struct {
	database
	Off  bool   `help:"Stop requiring one-time passwords."`
	Name string `arg:"" help:"The operator's name."`
}
type operatorOIDCCmd struct {
	database
	Off   bool   `help:"Stop the operator's logins at the provider."`
	Name  string `arg:"" help:"The operator's name."`
	Login string `arg:"" optional:"" help:"The operator's value of the claim that server: oidc: claim names."`
}
type operatorListCmd struct{ database }
type operatorDisableCmd struct {
	database
	Name string `arg:"" help:"The operator's name."`
}

// operatorHelp has the help texts of the flags above, by the names that the tags use.
var operatorHelp = kong.Vars{
	"operator_role": "viewer reads; agent also acts on chats; admin also takes a chat over from another operator.",
	"operator_bots": "The bots whose chats the operator may see and act on; * is all. Without it, a new operator " +
		"gets all bots, and an existing one keeps theirs.",
}

// Run prints the token. The store has only its hash.
func (c *operatorAddCmd) Run(e *env) error {
	if !operators.OperatorName.MatchString(c.Name) {
		return fmt.Errorf("%q is not a valid operator name: use 1 to 64 of a-z 0-9 . _ -,"+
			" starting with a letter or digit", c.Name)
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

// Run sets the bots. It takes effect at once: each request reads them.
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

// everyBot stands for all bots, including those added later.
const everyBot = "*"

// scope returns the bots that an operator may act on: an empty list for every bot, and nil
// when no names are given.
func scope(names []string) ([]string, error) {
	if slices.Equal(names, []string{everyBot}) {
		return []string{}, nil
	}
	for _, name := range names {
		if !config.BotName.MatchString(name) {
			return nil, fmt.Errorf("%q is not a valid bot name: give the names of the bots file, or %s alone for all",
				name, everyBot)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// scopeOf returns a scope as text.
func scopeOf(bots []string) string {
	if len(bots) == 0 {
		return "all bots"
	}
	return text.Join(bots)
}

// Run prints the password. The store has only its hash.
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

// Run prints the secret of the one-time passwords.
func (c *operatorTOTPCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	secret, uri := operators.NewTOTP(c.Name)
	if c.Off {
		secret = nil
	}
	if err := accounts.New(store.DB).SetTOTP(e.ctx, c.Name, secret); err != nil {
		return err
	}
	if c.Off {
		fmt.Fprintf(e.stdout, "%s logs in without a one-time password\n", c.Name)
		return nil
	}
	fmt.Fprintf(e.stdout, "%s logs in with the password and a code of an authenticator app. Its secret, which is not"+
		" shown again:\n%s\n%s\n", c.Name, operators.TOTPText(secret), uri)
	return nil
}

// Run sets the login. It takes effect at once: each login reads it.
func (c *operatorOIDCCmd) Run(e *env) error {
	if (c.Login == "") != c.Off {
		return errors.New("give the login at the provider, or --off")
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := accounts.New(store.DB).SetLogin(e.ctx, c.Name, c.Login); err != nil {
		return err
	}
	if c.Off {
		fmt.Fprintf(e.stdout, "%s does not log in at the provider\n", c.Name)
		return nil
	}
	fmt.Fprintf(e.stdout, "%s logs in at the provider as %s\n", c.Name, c.Login)
	return nil
}

// Run prints one line for each operator.
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
	fmt.Fprintln(w, "name\trole\tbots\tlogs in with\tsince\tlast seen\t")
	for _, o := range list {
		seen, disabled := "never", ""
		if !o.LastSeen.IsZero() {
			seen = o.LastSeen.UTC().Format(time.DateTime)
		}
		if o.Disabled {
			disabled = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			o.Name, o.Role, scopeOf(o.Bots), strings.Join(append(o.Logins, "token"), ", "),
			o.Created.UTC().Format(time.DateTime), seen, disabled)
	}
	return w.Flush()
}

// Run disables an operator at once: each request reads the list.
func (c *operatorDisableCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := accounts.New(store.DB).DisableOperator(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s is disabled and cannot use the operators' API\n", c.Name)
	return nil
}
