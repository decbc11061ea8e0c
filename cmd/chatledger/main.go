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
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// cli is every subcommand, each in the file of its name.
type cli struct {
	LogLevel slog.Level `help:"Least level of log lines on stderr: debug, info, warn, error." default:"${log_level}" env:"CHATLEDGER_LOG_LEVEL" group:"Log lines:"`
	logFlags `group:"Log lines:"`

	Dev        devCmd        `cmd:"" help:"Try it: a private PostgreSQL, a Telegram simulator and everything else in one process."`
	Serve      serveCmd      `cmd:"" help:"Receive webhooks, project, answer and deliver, for the bots of a file."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database schema up to date."`
	Events     eventsCmd     `cmd:"" help:"Print events, of one stream or of the whole feed."`
	Rebuild    rebuildCmd    `cmd:"" help:"Fold a read-model table anew from the events and swap it in."`
	Verify     verifyCmd     `cmd:"" help:"Fold the events anew and report the first read-model row that differs."`
	Rebase     rebaseCmd     `cmd:"" help:"Let the ledger go on in another cluster, after a dump was restored there."`
	Export     exportCmd     `cmd:"" help:"Write all events into a directory of files, or go on with one; or as one stream."`
	Import     importCmd     `cmd:"" help:"Fill an empty store from an archive, sending nothing, or go on with that."`
	Replay     replayCmd     `cmd:"" help:"Decide recorded chats again in a sandbox, with today's program or other settings, and report what differs."`
	State      stateCmd      `cmd:"" help:"Print what was known of a chat at any point, or what changed between two."`
	Why        whyCmd        `cmd:"" help:"Follow a read-model row back to its events, its update and its deliveries."`
	Deliveries deliveriesCmd `cmd:"" help:"List what leaves the system, and decide about what could not be delivered."`
	Webhook    webhookCmd    `cmd:"" help:"Tell Telegram where to post the bots' updates, and ask what it knows."`
	Doctor     doctorCmd     `cmd:"" help:"Look at everything that must be right, and say what to do about what is not."`
	Config     configCmd     `cmd:"" help:"Check a bots file."`
	Quarantine quarantineCmd `cmd:"" help:"List bodies that came with the right secret and could not be read, and print them."`
	Record     recordCmd     `cmd:"" help:"Make fixtures of received updates: shapes stay, and all that tells of somebody is replaced."`
	Knowledge  knowledgeCmd  `cmd:"" help:"Check what a team wrote for its bot, and try messages on it."`
	Ticket     ticketCmd     `cmd:"" help:"Act on a chat's ticket as a person: open, assign, escalate, reply, resolve, reopen, hand back."`
	Intents    intentsCmd    `cmd:"" help:"Train the classifier of messages from a file of examples, and measure it."`
	Operator   operatorCmd   `cmd:"" help:"Keep the list of who may use the operators' API: add, list, disable."`
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
		kong.Vars{"log_level": "warn", "rotation_overlap": registrar.RotationOverlap.String()}, kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exit(code)) }),
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
			err = command.Run(&env{ctx, stdout, stderr, c.logger(stderr, c.LogLevel), now})
		}
		code = report(stderr, err)
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
		says += ": " + reachable(err)
	}
	fmt.Fprintf(stderr, "chatledger: %s\n", says)
	var told interface{ ExitStatus() int }
	if errors.As(err, &told) {
		return told.ExitStatus()
	}
	return 1
}
