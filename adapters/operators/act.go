package operators

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// body holds the fields of all acts. Each act accepts its own fields and rejects the others.
type body struct {
	Fence     int64             `json:"fence"`
	Seconds   int               `json:"seconds"`
	Force     bool              `json:"force"`
	Text      string            `json:"text"`
	Format    dialog.Format     `json:"format"`
	Media     []mediaBody       `json:"media"`
	Name      string            `json:"name"`
	Variables map[string]string `json:"variables"`
	Add       []string          `json:"add"`
	Remove    []string          `json:"remove"`
	Assignee  string            `json:"assignee"`
	Priority  dialog.Priority   `json:"priority"`
	Reason    string            `json:"reason"`
}

type mediaBody struct {
	Kind   string `json:"kind"`
	FileID string `json:"file_id"`
}

// defaultLease is how long a claim lasts by default: time to read the chat and to reply.
const defaultLease = 5 * time.Minute

// maxReason bounds a reason and a name, in characters: one line.
const maxReason = 200

// act describes one of the acts.
type act struct {
	fields []string // fields that its body may have
	needs  []string // fields that its body must have
	do     func(b body, o commands.Operator, at time.Time) (chat.Command, error)
}

// acts lists all acts by the last part of their path.
var acts = map[string]act{
	"claim": {
		fields: []string{"seconds", "force"},
		do: func(b body, o commands.Operator, _ time.Time) (chat.Command, error) {
			if b.Force && !o.Role.Includes(commands.Admin) {
				return nil, problem{
					Status: http.StatusForbidden,
					Detail: "only an admin can take over a chat that another operator has claimed",
				}
			}
			if b.Seconds == 0 {
				return chat.Claim{For: defaultLease}, nil
			}
			if b.Seconds < 0 || time.Duration(b.Seconds) > chat.MaxLease/time.Second {
				return nil, chat.ErrLease
			}
			return chat.Claim{For: time.Duration(b.Seconds) * time.Second}, nil
		},
	},
	"release": {
		fields: []string{"fence"},
		do:     func(body, commands.Operator, time.Time) (chat.Command, error) { return chat.Release{}, nil },
	},
	"reply": {
		fields: []string{"fence", "text", "format", "media"},
		do: func(b body, _ commands.Operator, _ time.Time) (chat.Command, error) {
			if b.Format != "" && b.Format != dialog.HTML {
				return nil, invalid("format", string(dialog.HTML)+", or omitted for plain text")
			}
			reply := chat.Reply{Text: b.Text, Format: b.Format}
			for _, m := range b.Media {
				reply.Media = append(reply.Media, chat.Media{Kind: m.Kind, FileID: m.FileID})
			}
			return reply, nil
		},
	},
	"canned-reply": {
		fields: []string{"fence", "name", "variables"},
		needs:  []string{"name"},
		do: func(b body, _ commands.Operator, _ time.Time) (chat.Command, error) {
			return chat.CannedReply{Name: b.Name, Values: b.Variables}, nil
		},
	},
	"notes": {
		fields: []string{"text"},
		needs:  []string{"text"},
		do: func(b body, _ commands.Operator, _ time.Time) (chat.Command, error) {
			return chat.AddNote{Text: b.Text}, nil
		},
	},
	"tags": {
		fields: []string{"add", "remove"},
		do: func(b body, _ commands.Operator, _ time.Time) (chat.Command, error) {
			return chat.Tag{Add: b.Add, Remove: b.Remove}, nil
		},
	},
	"assign": {
		fields: []string{"fence", "assignee"},
		needs:  []string{"assignee"},
		do: func(b body, _ commands.Operator, _ time.Time) (chat.Command, error) {
			return chat.AssignTicket{Assignee: b.Assignee}, nil
		},
	},
	"priority": {
		fields: []string{"fence", "priority"},
		needs:  []string{"priority"},
		do: func(b body, _ commands.Operator, at time.Time) (chat.Command, error) {
			return chat.SetPriority{Priority: b.Priority, At: at}, nil
		},
	},
	"resolve": {fields: []string{"fence"}, do: func(_ body, _ commands.Operator, at time.Time) (chat.Command, error) {
		return chat.ResolveTicket{At: at}, nil
	}},
	"reopen": {fields: []string{"reason"}, do: func(b body, o commands.Operator, at time.Time) (chat.Command, error) {
		if b.Reason == "" {
			b.Reason = "reopened by " + o.Name
		}
		return chat.ReopenTicket{Reason: b.Reason, At: at}, nil
	}},
	"hand-back": {
		fields: []string{"fence"},
		do:     func(body, commands.Operator, time.Time) (chat.Command, error) { return chat.HandBack{}, nil },
	},
}

var keyFormat = regexp.MustCompile(fmt.Sprintf(`^[\x21-\x7e]{1,%d}$`, maxKey))

// act returns the handler of an act. An act takes effect once for its key; the answer is the chat after it.
func (a *API) act(name string, one act) func(http.ResponseWriter, *http.Request, commands.Operator) error {
	return func(w http.ResponseWriter, r *http.Request, o commands.Operator) error {
		key, stream, at := r.Header.Get("Idempotency-Key"), streamOf(r), a.Now()
		if !keyFormat.MatchString(key) {
			return problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("header Idempotency-Key is required, "+
				"1 to %d characters: a new one for each act, and the same one for a retry", maxKey)}
		}
		b, print, err := one.read(r, name)
		if err != nil {
			return err
		}
		do, err := one.do(b, o, at)
		if err != nil {
			return err
		}
		// A mistyped chat id must not start a new chat.
		if first, err := a.Ledger.Events(r.Context(), stream, 0, 1); err != nil {
			return err
		} else if len(first) == 0 {
			return errNoChat
		}
		command := chat.Operate{Key: key, Fingerprint: print, Operator: o.Name, Fence: b.Fence, Force: b.Force,
			Do: do, At: at, Lease: defaultLease}
		request := commands.Request{Stream: stream, Command: command, Actor: domain.OperatorActor(o.Name), At: at}
		result, err := a.Handler.Handle(r.Context(), request)
		if isOneOf(err, conflicts) {
			return a.conflict(r.Context(), stream, err)
		}
		if err != nil {
			return err
		}
		if result.State != nil {
			end := result.First + domain.Version(len(result.Events)) - 1
			return write(w, view(stream, *result.State, end, at))
		}
		c, err := a.after(r.Context(), stream, o.Name, key)
		if err != nil {
			return err
		}
		return write(w, c)
	}
}

// after returns the chat as it was after the first attempt of an act, so that a retry gets the same answer.
// It folds the chat's events, because the handler keeps no old states.
func (a *API) after(ctx context.Context, stream domain.StreamID, operator, key string) (*chatView, error) {
	var left *chatView
	var end domain.Version // of the act
	var at time.Time
	err := a.walk(ctx, stream, func(r domain.Recorded, s chat.State) {
		if e, ok := r.Event.(chat.OperatorActed); ok && e.Operator == operator && e.Key == key {
			end, at = r.Version+domain.Version(e.Led), e.At
		}
		if r.Version == end {
			left = view(stream, s, end, at)
		}
	})
	if err == nil && left == nil {
		err = fmt.Errorf("%s: no event of the act of %s, although it took effect before", stream, operator)
	}
	return left, err
}

// conflict returns the answer to a refused act, with the chat's current state.
func (a *API) conflict(ctx context.Context, stream domain.StreamID, refusal error) error {
	c, err := a.now(ctx, stream)
	if err != nil {
		return err
	}
	return problem{Status: http.StatusConflict, Detail: refusal.Error(), Chat: c}
}

func wantJSON(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problem{Status: http.StatusUnsupportedMediaType, Detail: "Content-Type must be application/json"}
	}
	return nil
}

// read parses an act's body. print is a hash of it, which detects a key reused for another act.
func (one act) read(r *http.Request, name string) (b body, print uint64, err error) {
	if err := wantJSON(r); err != nil {
		return b, 0, err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return b, 0, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return b, 0, problem{
			Status: http.StatusBadRequest,
			Detail: "the body is not a JSON object; send {} when there are no fields",
		}
	}
	if err := one.check(fields); err != nil {
		return b, 0, err
	}
	if err := json.Unmarshal(text, &b); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return b, 0, problem{
				Status: http.StatusUnprocessableEntity,
				Detail: fmt.Sprintf("%s must be %s, not %s", wrong.Field, wrong.Type, wrong.Value),
			}
		}
		return b, 0, problem{Status: http.StatusBadRequest, Detail: "the body is not valid JSON"}
	}
	if _, named := fields["fence"]; named && b.Fence < 1 {
		return b, 0, invalid("fence", "the fence of your claim")
	}
	for name, value := range map[string]string{"reason": b.Reason, "assignee": b.Assignee, "name": b.Name} {
		if len([]rune(value)) > maxReason {
			return b, 0, invalid(name, fmt.Sprintf("at most %d characters", maxReason))
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return b, 0, err
	}
	h := fnv.New64a()
	h.Write([]byte(name + "\n"))
	h.Write(compact.Bytes())
	return b, h.Sum64(), nil
}

// check rejects unknown fields and missing required ones.
func (one act) check(fields map[string]json.RawMessage) error {
	for name := range fields {
		if !slices.Contains(one.fields, name) {
			return problem{
				Status: http.StatusUnprocessableEntity,
				Detail: fmt.Sprintf("unknown field %.40q: use %v", name, one.fields),
			}
		}
	}
	for _, name := range one.needs {
		if _, there := fields[name]; !there {
			return problem{Status: http.StatusUnprocessableEntity, Detail: name + " is required"}
		}
	}
	return nil
}
