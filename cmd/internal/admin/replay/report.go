package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/terminal"
	"github.com/chatledger/chatledger/commands/whatif"
)

// print prints a difference.
func (r *Replay) print(d whatif.Difference) error {
	if r.JSON {
		return json.NewEncoder(r.Out).Encode(struct {
			Difference whatif.Difference `json:"difference"`
		}{d})
	}
	_, err := fmt.Fprint(r.Out, inWords(d))
	return err
}

// inWords returns a difference as lines. The first line names the place.
func inWords(d whatif.Difference) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %d at %s", d.Stream, d.Version, d.At.Format(time.RFC3339))
	if d.Said != "" {
		fmt.Fprintf(&b, ", on %s", strconv.Quote(terminal.Shorten(d.Said, saidWidth)))
	}
	if d.Root {
		b.WriteString(" (the first of this chat)")
	}
	b.WriteByte('\n')
	for _, f := range d.Fields {
		fmt.Fprintf(&b, "  %-9s was %s\n  %-9s now %s\n", f.Kind, quoted(f.Was), "", quoted(f.Now))
	}
	return b.String()
}

// saidWidth limits the customer's words in a line, in characters.
const saidWidth = 60

// quoted quotes texts. Some are written by customers, and a terminal must not obey them.
func quoted(texts []string) string {
	if len(texts) == 0 {
		return "nothing"
	}
	list := make([]string, len(texts))
	for i, text := range texts {
		list[i] = strconv.Quote(text)
	}
	return strings.Join(list, ", ")
}

// finish prints the summary, and keeps the sandbox when r.Keep is set.
func (r *Replay) finish(ctx context.Context) (err error) {
	schema := ""
	if r.Keep {
		if schema, err = r.sandbox.Keep(ctx); err != nil {
			return err
		}
	}
	if r.JSON {
		return json.NewEncoder(r.Out).Encode(struct {
			Summary whatif.Tally `json:"summary"`
			Schema  string       `json:"schema,omitempty"`
		}{r.tally, schema})
	}
	_, err = fmt.Fprint(r.Out, r.summary())
	if schema != "" && err == nil {
		_, err = fmt.Fprintf(r.Out, "kept in schema %s; `drop schema %s cascade` when you are done with it\n",
			schema, schema)
	}
	return err
}

// summary returns the tally as lines.
func (r *Replay) summary() string {
	t := r.tally
	var b strings.Builder
	fmt.Fprintf(&b, "%d chats, %d inputs, %d decisions compared: %d differ, in %d chats\n",
		t.Chats, t.Inputs, t.Decisions, t.DecisionsThatDiffer, t.ChatsThatDiffer)
	for _, kind := range whatif.Kinds {
		if t.Kinds[kind] == 0 {
			continue
		}
		fmt.Fprintf(&b, "  %-9s %d\n", kind, t.Kinds[kind])
		switch kind {
		case whatif.Intent:
			// The most frequent first.
			for _, change := range slices.SortedFunc(maps.Keys(t.Intents), func(x, y string) int {
				return cmp.Or(cmp.Compare(t.Intents[y], t.Intents[x]), strings.Compare(x, y))
			}) {
				fmt.Fprintf(&b, "            %d %s\n", t.Intents[change], change)
			}
		case whatif.Reply:
			fmt.Fprintf(&b, "            %d reworded, %d sent that were not, %d not sent that were\n",
				t.Reworded, t.Sent, t.Unsent)
		}
	}
	if t.Waiting > 0 {
		fmt.Fprintf(&b, "%d updates are left out: the bot has not processed them yet\n", t.Waiting)
	}
	if t.Unanswered > 0 {
		fmt.Fprintf(&b, "%d questions to other systems have no answer: the chat did not ask them then\n", t.Unanswered)
	}
	return b.String()
}
