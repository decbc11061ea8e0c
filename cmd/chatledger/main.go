// Command chatledger is the whole product in one binary: it receives Telegram
// webhooks, keeps the ledger, and reads it back.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/doctor"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
)

// cli has the flags of every command, and the subcommands; each subcommand is in the file of its name.
type cli struct {
	LogLevel slog.Level `help:"${log_level_help}" default:"${log_level}" env:"CHATLEDGER_LOG_LEVEL" group:"Log lines:"`
	logFlags `group:"Log lines:"`
	Raw      bool `help:"${raw_help}"`

	Dev        devCmd        `cmd:"" help:"Run a trial in one process: PostgreSQL, a Telegram simulator and the server."`
	Serve      serveCmd      `cmd:"" help:"Run the server: receive webhooks, project events, answer and deliver."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database schema up to date."`
	Events     eventsCmd     `cmd:"" help:"Print the events of one stream or of the whole feed."`
	Rebuild    rebuildCmd    `cmd:"" help:"Rebuild a read-model table from the events and swap it in."`
	Verify     verifyCmd     `cmd:"" help:"Compare read-model tables with the events; print the first row that differs."`
	Rebase     rebaseCmd     `cmd:"" help:"Let a ledger continue in the cluster that a dump of it was restored into."`
	Export     exportCmd     `cmd:"" help:"Export all events into an archive directory or as one stream."`
	Import     importCmd     `cmd:"" help:"Import an archive into an empty store, or continue an import; nothing is sent."`
	Replay     replayCmd     `cmd:"" help:"Decide recorded chats again in a sandbox; print the decisions that differ."`
	State      stateCmd      `cmd:"" help:"Print the state of a chat at any point, or what changed between two points."`
	Why        whyCmd        `cmd:"" help:"Print the update, events and deliveries behind a read-model row."`
	Deliveries deliveriesCmd `cmd:"" help:"List deliveries, and retry or skip dead letters."`
	Webhook    webhookCmd    `cmd:"" help:"Set, inspect and rotate the webhooks of the bots at Telegram."`
	Doctor     doctorCmd     `cmd:"" help:"Check configuration, database, webhooks and queues; say how to repair them."`
	Config     configCmd     `cmd:"" help:"Check a bots file."`
	Quarantine quarantineCmd `cmd:"" help:"List and print webhook bodies that could not be parsed."`
	Parked     parkedCmd     `cmd:"" help:"List, retry or skip the streams that a consumer group left out after an error."`
	Record     recordCmd     `cmd:"" help:"Make test fixtures of received updates, with personal data replaced."`
	Knowledge  knowledgeCmd  `cmd:"" help:"Check a bot's knowledge folder, and try messages on it."`
	Ticket     ticketCmd     `cmd:"" help:"Act on a chat's ticket: open, assign, escalate, reply, resolve and others."`
	Intents    intentsCmd    `cmd:"" help:"Train the message classifier from a file of examples, and measure it."`
	Operator   operatorCmd   `cmd:"" help:"Manage operators: add, list, disable, set bots and passwords."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// cliHelp has the help texts of the flags above, by the names that the tags use.
var cliHelp = kong.Vars{
	"log_level_help": "Least level of log lines on stderr: debug, info, warn, error.",
	"raw_help": "On a terminal, print control characters as they are stored, not as escapes such as \\u001b. " +
		"A pipe or a file always gets them as they are.",
}

// env is what a subcommand gets from main.
type env struct {
	ctx    context.Context // ends with Ctrl-C or SIGTERM
	stdout io.Writer
	stderr io.Writer // progress of long commands
	log    *slog.Logger
	now    func() time.Time
}

func main() {
	server.TuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process; tests call it, too.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runAt(ctx, clock.Now, args, stdout, stderr)
}

// runAt is run with another clock.
func runAt(ctx context.Context, now func() time.Time, args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("chatledger"),
		kong.Description("A backend for Telegram support bots: it stores updates as events in PostgreSQL, and answers."),
		kong.Vars{"log_level": "warn", "rotation_overlap": registrar.RotationOverlap.String()},
		cliHelp, flagsHelp, devHelp, serveHelp, operatorHelp, inspectHelp, deliveriesHelp, botSettingsHelp,
		recordHelp, replayHelp, kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		panic(err)
	}
	code := 0
	func() {
		defer func() {
			switch e := recover().(type) {
			case nil:
			case exit: // --help
				code = int(e)
			default: // a bug must not look like a good end
				panic(e)
			}
		}()
		command, err := parser.Parse(asMeant(args))
		if err != nil {
			err = withHelp(err)
		} else {
			log := c.logger(terminal.Output(stderr, c.Raw), c.LogLevel)
			err = command.Run(&env{ctx, terminal.Output(stdout, c.Raw), stderr, log, now})
		}
		code = report(terminal.Output(stderr, false), err)
	}()
	return code
}

type exit int

// asMeant accepts two common spellings of other programs: `help <command>` and --version.
func asMeant(args []string) []string {
	switch {
	case len(args) == 0:
		return args
	case args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	case args[0] == "--version":
		return []string{"version"}
	}
	return args
}

// withHelp adds to a command-line error the --help that explains it.
func withHelp(err error) error {
	var mistake *kong.ParseError
	if !errors.As(err, &mistake) {
		return err
	}
	command := "chatledger"
	if node := mistake.Context.Selected(); node != nil {
		command = node.FullPath()
	}
	return fmt.Errorf("%w; see `%s --help`", err, command)
}

// report prints an error in one line, worded as in logs, with doctor's advice when the database
// cannot be reached. It returns the exit status: 0 when the program was asked to stop, otherwise
// the error's own status or 1.
func report(stderr io.Writer, err error) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return 0
	}
	says := telemetry.OneLine(telemetry.Wording(err))
	if away := (*pgconn.ConnectError)(nil); errors.As(err, &away) {
		says += ": " + doctor.ConnectAdvice(err)
	}
	fmt.Fprintf(stderr, "chatledger: %s\n", says)
	var told interface{ ExitStatus() int }
	if errors.As(err, &told) {
		return told.ExitStatus()
	}
	return 1
}
