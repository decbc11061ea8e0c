package operators

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// chatView shows a chat at a version.
type chatView struct {
	Chat     string            `json:"chat"` // <bot>:<chat id>
	Version  domain.Version    `json:"version"`
	Handler  string            `json:"handler"` // bot or person
	Blocked  bool              `json:"blocked"`
	MovedTo  int64             `json:"moved_to,omitempty"`
	Customer string            `json:"customer,omitempty"`
	Known    map[string]string `json:"known,omitempty"` // the customer's fields in the CRM
	Language dialog.Language   `json:"language,omitempty"`
	Workflow *workflowView     `json:"workflow,omitempty"`
	Ticket   *ticketView       `json:"ticket,omitempty"` // the latest one
	Claim    *claimView        `json:"claim,omitempty"`  // the current one
}

type workflowView struct {
	Name      string            `json:"name"`
	Step      dialog.Step       `json:"step"`
	Collected map[string]string `json:"collected"`
}

type ticketView struct {
	ID        string            `json:"id"`
	Status    chat.TicketStatus `json:"status"`
	Priority  dialog.Priority   `json:"priority"`
	Reason    string            `json:"reason"`
	Subject   string            `json:"subject"`
	Assignee  string            `json:"assignee,omitempty"`
	Tags      []string          `json:"tags"`
	OpenedAt  time.Time         `json:"opened_at"`
	DueAt     time.Time         `json:"due_at"`
	ResolveBy time.Time         `json:"resolve_by,omitzero"`
	Replied   bool              `json:"replied"`
	Late      []chat.DueWhat    `json:"late,omitempty"`
	Desk      string            `json:"desk,omitempty"` // another help desk that also has the ticket
}

type claimView struct {
	Operator string    `json:"operator"`
	Fence    int64     `json:"fence"`
	Until    time.Time `json:"until"`
}

// view returns the view of a state at a version and a time.
func view(stream domain.StreamID, s chat.State, v domain.Version, at time.Time) *chatView {
	c := &chatView{
		Chat:     strings.TrimPrefix(string(stream), "chat-"),
		Version:  v,
		Handler:  "bot",
		Blocked:  s.Blocked,
		MovedTo:  s.MovedTo,
		Customer: s.Customer,
		Known:    s.Known.Fields,
		Language: s.Language,
	}
	if s.WithPerson() {
		c.Handler = "person"
	}
	if s.Run.Workflow != "" {
		c.Workflow = &workflowView{s.Run.Workflow, s.Run.Step, s.Run.Data}
		if c.Workflow.Collected == nil {
			c.Workflow.Collected = map[string]string{}
		}
	}
	if t := s.Ticket; t.ID != "" {
		c.Ticket = &ticketView{t.ID, t.Status, t.Priority, t.Reason, t.Subject, t.Assignee,
			append([]string{}, t.Tags...), t.Opened.UTC(), t.Due.UTC(), t.Resolve.UTC(), t.Replied, t.Breached, t.Desk}
	}
	if lease, runs := s.Lease(at); runs {
		c.Claim = &claimView{lease.Operator, lease.Fence, lease.Until.UTC()}
	}
	return c
}

func (a *API) chat(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if err := only(r.URL.Query()); err != nil {
		return err
	}
	c, err := a.now(r.Context(), streamOf(r))
	if err != nil {
		return err
	}
	return write(w, c)
}

// now returns a chat in its current state.
func (a *API) now(ctx context.Context, stream domain.StreamID) (*chatView, error) {
	state, version, err := a.Ledger.State(ctx, stream)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, errNoChat
	}
	return view(stream, state, version, a.Now()), nil
}

// historyPage is the number of events that are read at once.
const historyPage = 1000

// walk folds a chat from its first event, and calls step with each event and the state after it.
func (a *API) walk(ctx context.Context, stream domain.StreamID, step func(domain.Recorded, chat.State)) error {
	state, version := chat.Decider.Initial(), domain.Version(0)
	for {
		page, err := a.Ledger.Events(ctx, stream, version, historyPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			state, version = chat.Decider.Evolve(state, r.Event), r.Version
			step(r, state)
		}
		if len(page) < historyPage {
			break
		}
	}
	if version == 0 {
		return errNoChat
	}
	return nil
}

var errNoChat = problem{Status: http.StatusNotFound, Detail: "unknown chat: write <bot>:<chat id>, as the queue does"}

// chatName matches a bot's name and a chat id.
var chatName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*:-?[0-9]{1,18}$`)

// streamOf returns the stream of the chat that the path names, or "" if the name is not valid.
func streamOf(r *http.Request) domain.StreamID {
	name := strings.TrimPrefix(mux.Vars(r)["chat"], "chat-") // the stream's id names the chat as well
	if !chatName.MatchString(name) {
		return ""
	}
	bot, id, _ := strings.Cut(name, ":")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return ""
	}
	return domain.ChatStream(bot, n)
}
