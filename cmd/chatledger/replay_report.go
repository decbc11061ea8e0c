package main

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

	"github.com/chatledger/chatledger/commands/whatif"
)

// print reports a difference.
func (r *replay) print(d whatif.Difference) error {
	if r.JSON {
		return json.NewEncoder(r.out).Encode(struct {
			Difference whatif.Difference `json:"difference"`
		}{d})
	}
	_, err := fmt.Fprint(r.out, written(d))
	return err
}

// written is a difference in lines, the first of which names the place.
func written(d whatif.Difference) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %d at %s", d.Stream, d.Version, d.At.Format(time.RFC3339))
	if d.Said != "" {
		fmt.Fprintf(&b, ", on %s", strconv.Quote(shortened(d.Said)))
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

// saidMax bounds the customer's words in a line, in characters.
const saidMax = 60

func shortened(text string) string {
	if runes := []rune(text); len(runes) > saidMax {
		return string(runes[:saidMax-1]) + "…"
	}
	return text
}

// quoted lists texts: they are customers' in part, and a terminal must not obey them.
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

// finish prints the summary and keeps the sandbox if that is wanted.
func (r *replay) finish(ctx context.Context) (err error) {
	schema := ""
	if r.Keep {
		if schema, err = r.sandbox.Keep(ctx); err != nil {
			return err
		}
	}
	if r.JSON {
		return json.NewEncoder(r.out).Encode(struct {
			Summary whatif.Tally `json:"summary"`
			Schema  string       `json:"schema,omitempty"`
		}{r.tally, schema})
	}
	_, err = fmt.Fprint(r.out, r.summary())
	if schema != "" && err == nil {
		_, err = fmt.Fprintf(r.out, "kept in schema %s; `drop schema %s cascade` when you are done with it\n", schema, schema)
	}
	return err
}

// summary is the tally in lines.
func (r *replay) summary() string {
	t := r.tally
	var b strings.Builder
	fmt.Fprintf(&b, "%d chats, %d inputs, %d decisions compared: %d differ, in %d chats\n", t.Chats, t.Inputs, t.Decisions, t.DecisionsThatDiffer, t.ChatsThatDiffer)
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
			fmt.Fprintf(&b, "            %d reworded, %d sent that were not, %d not sent that were\n", t.Reworded, t.Sent, t.Unsent)
		}
	}
	if t.Waiting > 0 {
		fmt.Fprintf(&b, "%d updates are left out: the bot has not come to them yet\n", t.Waiting)
	}
	if t.Unanswered > 0 {
		fmt.Fprintf(&b, "%d questions to other systems have no answer: nobody asked the same then\n", t.Unanswered)
	}
	return b.String()
}
