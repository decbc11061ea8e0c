package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/modelusage"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/schema"
)

// configuration reads the bots file and what it points to.
func (x *examination) configuration() {
	file, err := config.Read(x.Bots)
	var wrong config.Mistakes
	switch {
	case errors.As(err, &wrong):
		for _, m := range wrong {
			x.find(grave, "configuration", "correct the file; `chatledger config check` checks it again", "%s", m)
		}
	case err != nil:
		x.find(grave, "configuration", "give the bots file with --bots", "%v", err)
	default:
		x.file = file
		x.find(fine, "configuration", "", "%s in %s", text.Plural(len(file.Bots), "bot"), x.Bots)
		for _, m := range file.Unencrypted() {
			x.find(grave, "encryption", "use https, or name the host in `server: plaintext`: serve rejects it", "%s", m)
		}
	}
	for name, b := range x.file.Bots {
		if _, err := b.ReadOrders(); err != nil {
			x.find(grave, "bot "+name+" orders", "correct the catalogue, or remove `orders` from the bots file",
				"%v", err)
		}
		if b.Knowledge == "" {
			continue
		}
		k, err := knowledge.Read(knowledge.Dir(b.Knowledge), knowledge.Options{Untrained: true})
		if err == nil {
			_, err = b.Prefer(k)
		}
		well := err == nil
		says := "folder " + b.Knowledge
		if !well {
			says += ": " + err.Error()
		}
		x.find(orElse(well, grave), "bot "+name+" knowledge",
			unlessWell(well, "`chatledger knowledge check "+b.Knowledge+"` prints every mistake"), "%s", says)
	}
}

// database checks that the database can be reached and has the schema of this program.
func (x *examination) database(ctx context.Context) {
	if x.DSN == "" {
		x.find(grave, "database", "set DATABASE_URL or --database-url", "no database address is given")
		return
	}
	plain, err := config.CheckDatabase(x.DSN)
	if err != nil {
		x.find(grave, "encryption", "set sslmode in the database address: serve rejects it", "%v", err)
	} else if plain != "" {
		x.find(warning, "encryption", "use sslmode=verify-full", "%s", plain)
	}
	version, err := schema.Version(ctx, x.DSN)
	if err != nil {
		x.find(grave, "database", ConnectAdvice(err), "%v", err)
		return
	}
	x.find(fine, "database", "", "reached")
	if version != schema.Latest() {
		do := "run `chatledger migrate`"
		if version > schema.Latest() {
			do = "run a newer chatledger"
		}
		x.find(grave, "schema", do, "the database is at version %d, this program needs %d", version, schema.Latest())
		return
	}
	x.find(fine, "schema", "", "version %d", version)
	if x.store, err = eventstore.Open(ctx, x.DSN, "chatledger doctor", chat.NewCodec()); err != nil {
		x.find(grave, "database", "correct what the error names", "%v", err)
	}
}

// ConnectAdvice returns what to do when the database cannot be reached.
func ConnectAdvice(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return "look at the address in DATABASE_URL, the firewall, and whether the server runs"
	}
	switch {
	case refused.Code == tooManyConnections:
		return "find the users of the connections: select usename, application_name, count(*) from pg_stat_activity " +
			"group by 1, 2; or raise max_connections"
	case refused.Code == "3D000": // invalid_catalog_name
		return "make the database with createdb, then run `chatledger migrate`; or correct its name in DATABASE_URL"
	case strings.HasPrefix(refused.Code, "28"): // invalid authorization
		return "correct the user and the password in DATABASE_URL; the server's pg_hba.conf says what it requires"
	}
	return "correct what the error names; the server's log may say more"
}

// ledger checks the database: roles, consumer groups, deliveries and others.
func (x *examination) ledger(ctx context.Context) {
	for _, check := range []struct {
		what string
		look func(context.Context) error
	}{{"roles", x.rights}, {"foreign objects", x.foreign}, {"other roles", x.exposed}, {"holders", x.holders},
		{"database clock", x.databaseClock}, {"oldest transaction", x.oldest}, {"consumers", x.lags},
		{"parked streams", x.parked}, {"event types", x.eventTypes}, {"deliveries", x.deliveries}, {"disk", x.disk},
		{"calls to Telegram", x.stopped}, {"language models", x.models}} {
		if err := check.look(ctx); err != nil {
			x.find(warning, check.what, "this check failed: correct what the error names", "%v", err)
		}
	}
}

func (x *examination) rights(ctx context.Context) error {
	r, err := health.Of(x.store.DB).Rights(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(r.Missing) > 0:
		x.find(grave, "roles", "as the owner, run `chatledger migrate --roles` again", "%s may not %s", r.Role,
			strings.Join(r.Missing, ", "))
	case r.Superuser:
		x.find(warning, "roles", "make roles with `chatledger migrate --roles` and serve as chatledger_app",
			"%s is a superuser: history is not protected from this program", r.Role)
	case r.Changes || r.Makes:
		x.find(warning, "roles", "make roles with `chatledger migrate --roles` and serve as chatledger_app",
			"%s may change the schema or history, which serve does not need", r.Role)
	default:
		x.find(fine, "roles", "", "%s has the privileges that serve needs, and cannot change events", r.Role)
	}
	if len(r.Others) > 0 {
		x.find(warning, "roles", "revoke update, delete, truncate on eventstore.events from them",
			"history can be changed by %s, too", strings.Join(r.Others, ", "))
	}
	return nil
}

// foreign finds objects in our schemas that no migration has made.
func (x *examination) foreign(ctx context.Context) error {
	found, err := schema.Foreign(ctx, x.DSN)
	if err != nil {
		return err
	}
	for _, one := range found {
		x.find(grave, "foreign objects", "find out who made it, and drop it or move it to another schema",
			"%s was made by no migration: its code could run with the rights of the role that migrates or restores", one)
	}
	if len(found) == 0 {
		x.find(fine, "foreign objects", "", "none in our schemas")
	}
	return nil
}

// exposed finds privileges by which read-only roles, or roles of other databases, could stop the program.
func (x *examination) exposed(ctx context.Context) error {
	if r, err := health.Of(x.store.DB).Rights(ctx); err != nil || r.Superuser {
		return err // without roles of our own there is nothing to check
	}
	open, err := health.Of(x.store.DB).Exposed(ctx)
	if err != nil {
		return err
	}
	for _, one := range open {
		x.find(warning, "other roles", "as a superuser, run `chatledger migrate --roles` again",
			"%s: a read-only role could hold the bots back or fill the disk", one)
	}
	if len(open) == 0 {
		x.find(fine, "other roles", "", "they cannot connect, or can only read")
	}
	return nil
}

// holders lists the sessions that lead consumer groups or hold locks.
func (x *examination) holders(ctx context.Context) error {
	holders, err := health.Of(x.store.DB).Holders(ctx)
	if err != nil {
		return err
	}
	for _, h := range holders {
		x.find(fine, "holders", "", "%s: held by pid %d (%s, client %s), connected for %v", h.Holds, h.PID, h.Application,
			h.Address, h.Since.Round(time.Second))
	}
	return nil
}

// apart compares another clock with this machine's. It takes half of the round trip as the way there.
func (x *examination) apart(what string, ask func() (time.Time, error), grain time.Duration) error {
	asked := time.Now()
	there, err := ask()
	if err != nil {
		return err
	}
	here := asked.Add(time.Since(asked) / 2)
	apart := max(0, there.Sub(here).Abs()-grain).Round(time.Millisecond)
	s := orElse(apart < clocksApart, warning)
	if apart >= clocksFarApart {
		s = grave
	}
	x.find(s, what,
		unlessWell(s == fine, "let both machines follow a time server (chrony or systemd-timesyncd)"),
		"%v apart from this machine's", apart)
	return nil
}

func (x *examination) databaseClock(ctx context.Context) error {
	return x.apart("database clock", func() (time.Time, error) { return health.Of(x.store.DB).Clock(ctx) }, 0)
}

func (x *examination) oldest(ctx context.Context) error {
	w, found, err := health.Of(x.store.DB).OldestWriter(ctx)
	switch {
	case err != nil:
		return err
	case found && w.Age > oldTransaction:
		x.find(grave, "oldest transaction", fmt.Sprintf("end it, or select pg_terminate_backend(%d)", w.PID),
			"pid %d (%s, user %s, %s) has been open for %v and holds all consumers back", w.PID, w.Application, w.User, w.State,
			w.Age.Round(time.Second))
	default:
		x.find(fine, "oldest transaction", "", "no write transaction is older than %v", oldTransaction)
	}
	return nil
}

func (x *examination) lags(ctx context.Context) error {
	lags, err := health.Of(x.store.DB).Lags(ctx)
	if err != nil {
		return err
	}
	behind := int64(0)
	for _, l := range lags {
		behind = max(behind, l.Events)
		if l.Age > consumersBehind {
			x.find(warning, "consumers",
				"check that a serve is running; its log and chatledger_page_seconds show what the group does",
				"%s is %s behind, the oldest is %v old", l.Group, text.Plural(int(l.Events), "event"),
				l.Age.Round(time.Second))
		}
	}
	x.find(fine, "consumers", "", "%s, at most %s behind", text.Plural(len(lags), "group"),
		text.Plural(int(behind), "event"))
	return nil
}

// parked lists the streams that consumer groups leave out, with the reasons.
func (x *examination) parked(ctx context.Context) error {
	list, err := x.store.Parked(ctx, "")
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Stream.IsAllChats() {
			x.find(warning, "parked streams",
				"add the bot to the bots file of every serve; or, for a bot that was removed for good, "+
					"`chatledger parked skip "+p.Group+" '"+string(p.Stream)+"'`",
				"group %s holds all chats of bot %s since %s: %s", p.Group, p.Stream.Bot(), p.ParkedAt.UTC().Format(time.RFC3339),
				p.Reason)
			continue
		}
		x.find(warning, "parked streams", "`chatledger parked show "+p.Group+" "+string(p.Stream)+"`, then `parked retry`",
			"group %s leaves out %s from version %d (%s) on: %s", p.Group, string(p.Stream), p.Version, p.Event, p.Reason)
	}
	if len(list) == 0 {
		x.find(fine, "parked streams", "", "none")
	}
	return nil
}

// eventTypes compares the stored event types with those that this program knows.
func (x *examination) eventTypes(ctx context.Context) error {
	types, err := x.store.NewerTypes(ctx)
	if err != nil {
		return err
	}
	if len(types) > 0 {
		x.find(warning, "event types", "run the newer program in every process",
			"this program does not know %s: a newer one has stored them", strings.Join(types, ", "))
		return nil
	}
	x.find(fine, "event types", "", "all are known")
	return nil
}

func (x *examination) deliveries(ctx context.Context) error {
	unfinished, err := health.Of(x.store.DB).Unfinished(ctx)
	if err != nil {
		return err
	}
	waiting := int64(0)
	for _, o := range unfinished {
		switch {
		case o.State == "dead" || o.State == "unknown":
			x.find(warning, "deliveries", "`chatledger deliveries list` shows them; retry or skip each",
				"%d to %s are %s", o.Count, o.Destination, o.State)
		case o.Oldest > deliveriesLate:
			x.find(warning, "deliveries",
				"check the destination: its token, its circuit breaker, its status page",
				"%d to %s are %s, the oldest for %v", o.Count, o.Destination, o.State,
				o.Oldest.Round(time.Second))
		default:
			waiting += o.Count
		}
	}
	x.find(fine, "deliveries", "", "%d are pending", waiting)
	return nil
}

func (x *examination) stopped(ctx context.Context) error {
	stopped, err := outbox.NewRateLimiter(x.store.DB).Suspended(ctx)
	for _, name := range slices.Sorted(maps.Keys(stopped)) {
		x.find(grave, "bot "+name+" calls",
			"wrong token: correct the token; rate limit: wait as long as Telegram says",
			"it may not call Telegram: %s: %s", stopped[name].Cause, stopped[name].Reason)
	}
	return err
}

// modelNearlySpent is the share of a model's daily budget above which doctor warns, as the alert does.
const modelNearlySpent = 0.8

// models checks how much of its daily budget each bot's language model has used.
func (x *examination) models(ctx context.Context) error {
	used, err := modelusage.New(x.store.DB).Today(ctx)
	for _, name := range slices.Sorted(maps.Keys(x.file.Bots)) {
		b := x.file.Bots[name]
		if b.Model == nil {
			continue
		}
		parts := used[name].Of(b.Model.Daily.Usage())
		for _, of := range slices.Sorted(maps.Keys(parts)) {
			well := parts[of] <= modelNearlySpent
			x.find(orElse(well, warning), "bot "+name+" model",
				unlessWell(well, "if this is not abuse, raise `daily` of its model: operators answer when the budget is used up"),
				"%.0f %% of today's budget of %s is used", 100*parts[of], of)
		}
	}
	return err
}

func (x *examination) disk(ctx context.Context) error {
	bytes, folder, err := health.Of(x.store.DB).Size(ctx)
	if err != nil {
		return err
	}
	var room syscall.Statfs_t
	if folder == "" || syscall.Statfs(folder, &room) != nil {
		x.find(fine, "disk", "", "the database has %s; the free space of its server cannot be read from here",
			mebibytes(bytes))
		return nil
	}
	free := float64(room.Bavail) / float64(max(room.Blocks, 1))
	well := free > littleRoom
	x.find(orElse(well, grave), "disk", unlessWell(well, "free some space: PostgreSQL stops when the disk is full"),
		"the database has %s; %.0f %% of its server's disk is free", mebibytes(bytes), 100*free)
	return nil
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// outside checks other systems over the network, all at the same time.
func (x *examination) outside(ctx context.Context) {
	var asking sync.WaitGroup
	asking.Go(func() { x.receiver(ctx) })
	if len(x.file.Bots) > 0 {
		asking.Go(func() {
			err := x.apart("Telegram's clock", func() (time.Time, error) { return telegram.Clock(ctx, x.TelegramURL) },
				time.Second)
			if err != nil {
				x.find(grave, "Telegram's clock",
					"check --telegram-url, the proxy and the firewall: nothing can be sent", "%v", err)
			}
		})
	}
	if o := x.file.Server.OIDC; o != nil {
		asking.Go(func() { x.reaches(ctx, "operators' provider", o.Issuer+"/.well-known/openid-configuration") })
	}
	for name, b := range x.file.Bots {
		asking.Go(func() { x.webhook(ctx, name, b) })
		if b.Secure() {
			asking.Go(func() { x.certificate(ctx, name, b) })
		}
		for what, address := range b.CallsOut() {
			asking.Go(func() { x.reaches(ctx, "bot "+name+" "+what, address) })
		}
	}
	asking.Wait()
}

// webhook compares the registration at Telegram with the stored one.
func (x *examination) webhook(ctx context.Context, name string, b config.Bot) {
	what := "bot " + name + " webhook"
	client, err := telegram.NewClient(x.TelegramURL, b.Token)
	if err != nil {
		x.find(grave, what, "give the token that BotFather shows", "%v", err)
		return
	}
	info, err := client.WebhookInfo(ctx)
	if err != nil {
		do := "check --telegram-url, the proxy and the firewall"
		if errors.Is(err, telegram.ErrToken) {
			do = "give the token that BotFather shows"
		}
		x.find(grave, what, do, "%v", err)
		return
	}
	if info.Pending > manyPending {
		x.find(warning, what,
			"check chatledger_webhook_seconds and the last error: the receiver does not keep up",
			"%d updates wait at Telegram", info.Pending)
	}
	if info.LastError != "" && time.Since(info.ErrorAt) < RecentError {
		x.find(warning, what,
			"401: `chatledger webhook set`; 502 to 504: serve is or was not ready; timeouts and TLS: check the network "+
				"between Telegram and public_url",
			"at %s a delivery by Telegram failed: %s", info.ErrorAt.Format(time.TimeOnly), info.LastError)
	}
	if time.Since(info.OutOfSyncAt) < RecentError {
		x.find(warning, what, registrar.UntilInSync, "at %s %s", info.OutOfSyncAt.Format(time.TimeOnly),
			registrar.OutOfSync)
	}
	if b.PublicURL == "" {
		x.find(orElse(info.URL != "", warning), what, unlessWell(info.URL != "", "give the bot a public_url"),
			"Telegram posts to %s; there is no public_url to compare it with", text.OrNone(info.URL))
		return
	}
	var all []webhooks.Address
	if x.store != nil {
		if all, err = webhooks.New(x.store.DB).Addresses(ctx); err != nil {
			x.find(warning, what, "this check failed: correct what the error names", "%v", err)
			return
		}
	}
	path, left := registrar.Standing(all, name, b, info.URL)
	differing := registrar.Differences(info.Registration, b.Registration(path))
	mend := "run `chatledger webhook set --bot " + name + "`"
	for _, d := range differing {
		x.find(grave, what, mend, "%s", d)
	}
	for _, a := range left {
		x.find(warning, what, mend, "%s", registrar.LeftOpen(b, a))
	}
	if len(differing)+len(left) == 0 {
		x.find(fine, what, "", "%s, %s wait", info.URL, text.Plural(info.Pending, "update"))
	}
}

func (x *examination) certificate(ctx context.Context, name string, b config.Bot) {
	what := "bot " + name + " certificate"
	notAfter, err := certificates.Check(ctx, b.PublicURL, x.roots)
	left := time.Until(notAfter)
	switch {
	case err != nil:
		x.find(grave, what,
			"correct the server at public_url, or renew its certificate: Telegram rejects an invalid one", "%v", err)
	case left < certificateWarning:
		s := warning
		if left < certificateGrave {
			s = grave
		}
		x.find(s, what, "renew the certificate", "it expires in %.0f days, on %s", left.Hours()/24,
			notAfter.UTC().Format(time.DateOnly))
	default:
		x.find(fine, what, "", "valid until %s", notAfter.UTC().Format(time.DateOnly))
	}
}

// reaches checks that a server answers at an address. Any answer will do, because the request has no
// token.
func (x *examination) reaches(ctx context.Context, what, address string) {
	ctx, cancel := context.WithTimeout(ctx, registrar.ReadyPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err == nil {
		var answer *http.Response
		if answer, err = http.DefaultTransport.RoundTrip(r); err == nil {
			answer.Body.Close()
		}
	}
	if err != nil {
		x.find(warning, what,
			"check its url in the bots file, its status page and the firewall; deliveries to it wait",
			"%v", err)
		return
	}
	x.find(fine, what, "", "answers")
}

// receiver checks that a running serve is ready, and its circuit breakers.
func (x *examination) receiver(ctx context.Context) {
	said, err := registrar.Ready(ctx, x.Receiver+"/readyz")
	if err != nil {
		x.find(warning, "serve", "start serve, or give its address with --receiver; its /readyz gives reasons",
			"%v", err)
		return
	}
	if x.store != nil && said.Database != "" {
		if ours, err := x.store.Identity(ctx); err == nil && ours != said.Database {
			x.find(warning, "serve", "set --receiver to the address of a process that serves this database, or start one",
				"the process at %s is ready, but it serves another database", x.Receiver)
			return
		}
	}
	x.find(fine, "serve", "", "ready at %s", x.Receiver)
	if err := x.breakers(ctx); err != nil {
		x.find(warning, "breakers",
			"set --receiver to the --ops address of serve, where its metrics are", "%v", err)
	}
}

// breakers reads the open circuit breakers from the metrics of a running serve.
func (x *examination) breakers(ctx context.Context) error {
	answer, err := registrar.Get(ctx, x.Receiver+"/metrics", "")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	open := false
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		destination, ok := strings.CutPrefix(lines.Text(), `chatledger_breaker_state{destination="`)
		if destination, state, found := strings.Cut(destination, `"} `); ok && found && state != "0" {
			open = true
			x.find(warning, "breakers", "check the destination: calls wait until it answers again",
				"the circuit breaker of %s is open", destination)
		}
	}
	if !open {
		x.find(fine, "breakers", "", "none is open")
	}
	return lines.Err()
}

// tooManyConnections is the SQLSTATE of a server without a free connection.
const tooManyConnections = "53300"
