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

// cli is every subcommand, each in the file of its name.
type cli struct {
	LogLevel slog.Level `help:"Least level of log lines on stderr: debug, info, warn, error." default:"${log_level}" env:"CHATLEDGER_LOG_LEVEL" group:"Log lines:"`
	logFlags `group:"Log lines:"`
	Raw      bool `help:"On a terminal, print control characters as they are stored. Without it they are shown as escapes, such as \\u001b; a pipe or a file always gets them as they are."`

	Dev        devCmd        `cmd:"" help:"Run everything in one process for a trial: a private PostgreSQL, a Telegram simulator and the server."`
	Serve      serveCmd      `cmd:"" help:"Run the server: receive webhooks, project events, answer and deliver, for the bots of a file."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database schema up to date."`
	Events     eventsCmd     `cmd:"" help:"Print the events of one stream or of the whole feed."`
	Rebuild    rebuildCmd    `cmd:"" help:"Rebuild a read-model table from the events and swap it in."`
	Verify     verifyCmd     `cmd:"" help:"Compare read-model tables with the events, and report the first row that differs."`
	Rebase     rebaseCmd     `cmd:"" help:"Let a ledger continue in the cluster that a dump of it was restored into."`
	Export     exportCmd     `cmd:"" help:"Export all events into an archive directory, continue an archive, or write them as one stream."`
	Import     importCmd     `cmd:"" help:"Import an archive into an empty store, or continue an import; nothing is sent."`
	Replay     replayCmd     `cmd:"" help:"Decide recorded chats again in a sandbox, with this program or other settings, and report the decisions that differ."`
	State      stateCmd      `cmd:"" help:"Print the state of a chat at any point, or what changed between two points."`
	Why        whyCmd        `cmd:"" help:"Print the update, events and deliveries behind a read-model row."`
	Deliveries deliveriesCmd `cmd:"" help:"List deliveries, and retry or skip dead letters."`
	Webhook    webhookCmd    `cmd:"" help:"Set, inspect and rotate the webhooks of the bots at Telegram."`
	Doctor     doctorCmd     `cmd:"" help:"Check configuration, database, webhooks and queues, and say how to fix what is wrong."`
	Config     configCmd     `cmd:"" help:"Check a bots file."`
	Quarantine quarantineCmd `cmd:"" help:"List and print webhook bodies that had the right secret and could not be parsed."`
	Parked     parkedCmd     `cmd:"" help:"List streams that a consumer group left out because an event failed; retry or skip them."`
	Record     recordCmd     `cmd:"" help:"Make test fixtures of received updates: the shape stays, personal data is replaced."`
	Knowledge  knowledgeCmd  `cmd:"" help:"Check a bot's knowledge folder, and try messages on it."`
	Ticket     ticketCmd     `cmd:"" help:"Act on a chat's ticket as an operator: open, assign, escalate, reply, resolve, reopen, hand back."`
	Intents    intentsCmd    `cmd:"" help:"Train the message classifier from a file of examples, and measure it."`
	Operator   operatorCmd   `cmd:"" help:"Manage operators: add, list, disable, set bots and passwords."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// env is what subcommands run in.
type env struct {
	ctx    context.Context // ends with Ctrl-C or SIGTERM
	stdout io.Writer
	stderr io.Writer // how far a long run has come
	log    *slog.Logger
	now    func() time.Time
}

func main() {
	server.TuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process around it, for tests too.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runAt(ctx, clock.Now, args, stdout, stderr)
}

// runAt is run by a clock of its own.
func runAt(ctx context.Context, now func() time.Time, args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("chatledger"),
		kong.Description("An event-sourced backend behind Telegram webhooks: every update is a fact, every answer can be explained."),
		kong.Vars{"log_level": "warn", "rotation_overlap": registrar.RotationOverlap.String()},
		kong.Vars(devHelp), kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exit(code)) }),
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
			default: // a mistake of ours is not a good end
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

// asMeant takes what people type by habit, of other programs, for what it is called here.
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

// withHelp adds to a mistake on the command line where to read what would be right.
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

// report prints an error in one line, as logs word it, with what the doctor would say of a
// database that is not reached, and turns it into an exit status: 1 for a finding or a
// failure unless the error says another, 0 when the program was merely asked to stop.
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
