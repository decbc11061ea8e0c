package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// ticketCmd acts on the ticket of a chat as an operator, with the same commands as the
// operators' API.
type ticketCmd struct {
	Open     openCmd     `cmd:"" help:"Open a ticket for the operators; the bot stops answering."`
	Assign   assignCmd   `cmd:"" help:"Assign the ticket to an operator."`
	Escalate escalateCmd `cmd:"" help:"Raise the priority of the ticket."`
	Reply    replyCmd    `cmd:"" help:"Write to the customer."`
	Resolve  resolveCmd  `cmd:"" help:"Close the ticket; the bot answers again."`
	Reopen   reopenCmd   `cmd:"" help:"Open the last ticket again."`
	HandBack handBackCmd `cmd:"" help:"Let the bot answer again; the ticket stays open."`
}

// onChat are the flags of every ticket command.
type onChat struct {
	database
	botSettings
	As    string `default:"operator" env:"USER" help:"The operator who acts."`
	Force bool   `help:"Act even if another operator has claimed the chat."`
	Chat  string `arg:"" help:"The chat, as <bot>:<chat id>, for example demo:42."`
}

type openCmd struct {
	onChat
	Reason   string          `default:"opened by an operator" help:"The reason."`
	Priority dialog.Priority `default:"normal" help:"urgent, high, normal or low."`
}
type assignCmd struct {
	onChat
	Assignee string `arg:"" help:"The operator who gets the ticket."`
}
type escalateCmd struct {
	onChat
	Priority dialog.Priority `arg:"" help:"urgent, high or normal."`
	Reason   string          `default:"escalated by an operator" help:"The reason."`
}
type replyCmd struct {
	onChat
	Text     string   `arg:"" optional:"" help:"The text; with a file, its caption."`
	HTML     bool     `help:"The text is in Telegram's HTML: <b>, <i>, <a href=...>, <code>, <blockquote> and so on."`
	Photo    []string `sep:"none" placeholder:"FILE-ID" help:"Send the photo with this file id; several are an album."`
	Document []string `sep:"none" placeholder:"FILE-ID" help:"Send the document with this file id; several are an album."`
	Voice    []string `sep:"none" placeholder:"FILE-ID" help:"Send the voice message with this file id."`
}
type resolveCmd struct{ onChat }
type reopenCmd struct {
	onChat
	Reason string `default:"reopened by an operator" help:"The reason."`
}
type handBackCmd struct{ onChat }

func (c *openCmd) Run(e *env) error {
	return c.handle(e, chat.OpenTicket{Reason: c.Reason, Priority: c.Priority, At: e.now()})
}
func (c *assignCmd) Run(e *env) error { return c.handle(e, chat.AssignTicket{Assignee: c.Assignee}) }
func (c *escalateCmd) Run(e *env) error {
	return c.handle(e, chat.EscalateTicket{Priority: c.Priority, Reason: c.Reason, At: e.now()})
}
func (c *replyCmd) Run(e *env) error {
	reply := chat.Reply{Author: chat.Author{Kind: chat.Person, Name: c.As}, Text: c.Text}
	if c.HTML {
		reply.Format = dialog.HTML
	}
	add := func(kind string, files []string) {
		for _, id := range files {
			reply.Media = append(reply.Media, chat.Media{Kind: kind, FileID: id})
		}
	}
	add(chat.Photo, c.Photo)
	add(chat.Document, c.Document)
	add(chat.Voice, c.Voice)
	return c.handle(e, reply)
}
func (c *resolveCmd) Run(e *env) error { return c.handle(e, chat.ResolveTicket{At: e.now()}) }
func (c *reopenCmd) Run(e *env) error {
	return c.handle(e, chat.ReopenTicket{Reason: c.Reason, At: e.now()})
}
func (c *handBackCmd) Run(e *env) error { return c.handle(e, chat.HandBack{}) }

// handle sends the command to the chat and prints the events that follow.
func (c *onChat) handle(e *env, command chat.Command) error {
	stream, err := chatStream(c.Chat)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	// A chat without events is a typing error; the command would start a new stream.
	known, err := store.ReadStream(e.ctx, store.Pool(), stream, 0, 1)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return fmt.Errorf("chat %s does not exist: `chatledger events` lists the chats with their events", c.Chat)
	}
	with, err := c.settingsOf(e)
	if err != nil {
		return err
	}
	handler := commands.NewHandler(store,
		commands.Config{Committers: 1, Cached: 1, Settings: commands.SettingsFunc(with)})
	defer handler.Close()
	act := chat.Operate{Operator: c.As, Do: command, Force: c.Force, At: e.now()}
	result, err := handler.Handle(e.ctx,
		commands.Request{Stream: stream, Command: act, Actor: domain.OperatorActor(c.As), At: act.At})
	if errors.Is(err, chat.ErrClaimed) {
		return fmt.Errorf("%w; --force acts all the same", err)
	}
	if err != nil {
		return err
	}
	codec := chat.NewCodec()
	if len(result.Events) == 0 {
		fmt.Fprintln(e.stdout, "nothing to do: the ticket is in this state already")
	}
	for i, event := range result.Events {
		fmt.Fprintf(e.stdout, "%s %d %s\n", stream, result.First+domain.Version(i), codec.Name(event))
	}
	return store.NotifyProcesses(e.ctx)
}

// chatStream reads the name of a chat in any form in which it is printed: demo:42, its stream
// chat-demo:42, or its ticket demo:42#1.
func chatStream(chat string) (domain.StreamID, error) {
	bot, id, ok := strings.Cut(strings.TrimPrefix(chat, "chat-"), ":")
	id, _, _ = strings.Cut(id, "#")
	chatID, err := strconv.ParseInt(id, 10, 64)
	if !ok || bot == "" || err != nil {
		return "", fmt.Errorf("%q is not a chat: write <bot>:<chat id>, for example demo:42", chat)
	}
	return domain.ChatStream(bot, chatID), nil
}
