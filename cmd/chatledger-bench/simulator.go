package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/guard"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/dev"
)

// simulator is a Telegram of the bench, at an address.
type simulator struct {
	*telegramsim.Server
	api  string // its address
	stop func()
}

// benchBot is the account of rows that have one bot.
var benchBot = telegramsim.Bot{Token: dev.Token, Username: "demo_bot", Name: "demo"}

func newSimulator(bots ...telegramsim.Bot) (*simulator, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &simulator{
		Server: telegramsim.New(telegramsim.Options{Bots: bots}), api: "http://" + listener.Addr().String(),
	}
	front := &http.Server{Handler: guard.SameOrigin(listener.Addr(), s)}
	go front.Serve(listener)
	s.stop = func() { front.Close(); s.Close() }
	return s, nil
}

// setWebhook has the simulator post the updates of the bench's bot to a URL.
func (s *simulator) setWebhook(ctx context.Context, url string) error {
	client, err := telegram.NewClient(s.api, dev.Token)
	if err != nil {
		return err
	}
	return client.SetWebhook(ctx, telegram.Registration{URL: url, Secret: dev.Secret})
}

// openChat lets a customer begin a chat at Telegram: a bot cannot write first there.
func (s *simulator) openChat(bot string, chat int64) error {
	update := fmt.Sprintf(`{"telepathy":{"chat":{"id":%d,"type":"private"}}}`, chat)
	answer, err := http.Post(s.api+"/sim/updates?bot="+bot, "application/json", strings.NewReader(update))
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// privateMessage returns an update with a customer's message to a bot.
func privateMessage(id, chat int64, text string) []byte {
	return fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%[1]d,"date":%d,"chat":{"id":%d,"type":"private"},`+
		`"from":{"id":%[3]d,"is_bot":false,"first_name":"Ada"},"text":%q}}`,
		id, time.Now().Unix(), chat, text)
}

// firstOrder is the first order number that customers ask for. No such order exists, and the answer says
// so with the number, so that it shows which update was answered.
const firstOrder = 1_000_000

var orderNumber = regexp.MustCompile(`\b[1-9]\d{6}\b`)

// orderQuestion returns an update whose answer differs from all others.
func orderQuestion(id, chat int64) []byte {
	return privateMessage(id, chat, fmt.Sprintf("where is my order %d?", firstOrder+id))
}

// answered returns the id of the question that a text answers; false for any other text.
func answered(text string) (id int64, ok bool) {
	number, err := strconv.ParseInt(orderNumber.FindString(text), 10, 64)
	return number - firstOrder, err == nil
}

const (
	// benchLook is how often the bench checks whether something is done.
	benchLook = 100 * time.Millisecond
	// benchPatience bounds the wait for a process to begin, and for the last answers; a lease
	// that a kill left behind takes 15 s of it.
	benchPatience = time.Minute
)

// settled waits until all events are handled, and no delivery is pending to destinations like these.
// The database may be unreachable meanwhile.
func settled(ctx context.Context, dsn, destinations string) error {
	for deadline := time.Now().Add(benchPatience); ; {
		left, err := unfinished(ctx, dsn, destinations)
		if err == nil && left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%d events and deliveries are not done with after %s", left, benchPatience),
				err)
		}
		if err := wait.For(ctx, benchLook); err != nil {
			return err
		}
	}
}

// unfinished counts the unread events, and the pending deliveries to destinations like these.
func unfinished(ctx context.Context, dsn, destinations string) (left int, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, `
		select (select count(*) from eventstore.deliveries where finished_at is null and destination like $1)
			+ (select count(*) from eventstore.events e
				join eventstore.checkpoints c on (e.transaction_id, e.position) > (c.transaction_id, c.position))`,
		destinations).Scan(&left)
	return left, err
}
