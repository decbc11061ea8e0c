package dialog_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

const baker = "12 Baker Street, London NW1 6XE"

// talk is a conversation under test: it carries the run from turn to turn, as the
// chat does.
type talk struct {
	*testing.T
	context Context
	at      time.Time
	message int64
	last    Turn
}

func begin(t *testing.T) *talk {
	return &talk{T: t, context: Context{Knowledge: &Shop, Customer: map[string]string{"name": "Ada"}}, at: noon}
}

// walkedTo is a conversation whose address change stands at a step.
func walkedTo(t *testing.T, step Step) *talk {
	c := begin(t).write("change my billing address")
	if step == ConfirmingChanges {
		c.write(baker)
	}
	return c.stands(step)
}

func (c *talk) take(act Act) *talk {
	c.Helper()
	act.At = c.at
	return c.follow(Take(c.context, act))
}

// follow takes a turn that was decided.
func (c *talk) follow(turn Turn) *talk {
	c.Helper()
	c.last, c.context.Language = turn, turn.Language
	for _, move := range turn.Moves {
		if move.Kind == Stepped && move.To != Initial && move.From != c.context.Run.Step {
			c.Fatalf("moved from %q, but the workflow stood at %q", move.From, c.context.Run.Step)
		}
		c.context.Run = c.context.Run.Follow(move, c.at)
	}
	run := &c.context.Run
	if run.Reminded = run.Reminded || turn.Reminded; turn.Offer.Intent != "" {
		run.Offered = turn.Offer
	}
	if turn.TakeUp.Step != "" {
		run.TakeUp = turn.TakeUp
	}
	if turn.Call.Tool != "" {
		run.Calling, run.Writing = turn.Call.Tool, Toolbox[turn.Call.Tool].Writes
	}
	return c
}

// returns has the tool answer that is waited for.
func (c *talk) returns(output map[string]string) *talk {
	c.Helper()
	return c.returned(output, false)
}

func (c *talk) fails() *talk {
	c.Helper()
	return c.returned(nil, true)
}

func (c *talk) returned(output map[string]string, failed bool) *talk {
	c.Helper()
	if c.context.Run.Calling == "" {
		c.Fatal("no tool is waited for")
	}
	c.context.Run.Calling, c.context.Run.Writing = "", false
	return c.follow(Returned(c.context, output, failed, Act{At: c.at}))
}

// asides fails unless the last turn asked exactly these tools in passing, each with one input: "tool value".
func (c *talk) asides(want ...string) *talk {
	c.Helper()
	var got []string
	for _, call := range c.last.Asides {
		got = append(got, call.Tool+" "+strings.Join(slices.Sorted(maps.Values(call.Input)), " "))
	}
	if !slices.Equal(got, want) {
		c.Fatalf("asked %q in passing, want %q; said %+v", got, want, c.last.Replies)
	}
	return c
}

// calls fails unless the last turn used exactly this tool with this input.
func (c *talk) calls(tool string, input map[string]string) *talk {
	c.Helper()
	if c.last.Call.Tool != tool || !maps.Equal(c.last.Call.Input, input) {
		c.Fatalf("used %+v, want %s with %v", c.last.Call, tool, input)
	}
	return c
}

// write sends a message; edit changes the one of that number.
func (c *talk) write(text string) *talk {
	c.Helper()
	c.message++
	return c.take(Act{Text: text, MessageID: c.message})
}

func (c *talk) edit(message int64, text string) *talk {
	c.Helper()
	return c.take(Act{Text: text, MessageID: message, Edited: true})
}

func (c *talk) press(data string) *talk {
	c.Helper()
	return c.take(Act{Button: data, MessageID: 900})
}

func (c *talk) after(d time.Duration) *talk {
	c.at = c.at.Add(d)
	return c
}

func (c *talk) stands(step Step) *talk {
	c.Helper()
	if got := c.context.Run.Step; got != step {
		c.Fatalf("the workflow stands at %q, want %q; said %+v", got, step, c.last.Replies)
	}
	return c
}

func (c *talk) says(part string) *talk {
	c.Helper()
	if !slices.ContainsFunc(c.last.Replies, func(r Reply) bool { return strings.Contains(r.Text, part) }) {
		c.Fatalf("said %+v, want something of %q", c.last.Replies, part)
	}
	return c
}

func (c *talk) silent() *talk {
	c.Helper()
	if len(c.last.Replies) > 0 || len(c.last.Moves) > 0 {
		c.Fatalf("moved %+v and said %+v", c.last.Moves, c.last.Replies)
	}
	return c
}

func (c *talk) toasts(text string) *talk {
	c.Helper()
	if c.last.Toast != text {
		c.Fatalf("the button is answered with %q, want %q", c.last.Toast, text)
	}
	return c
}

// button is the data of the last reply's button of that place.
func (c *talk) button(i int) string {
	c.Helper()
	for _, reply := range slices.Backward(c.last.Replies) {
		if len(reply.Buttons) > i {
			return reply.Buttons[i].Data
		}
	}
	c.Fatalf("no button in %+v", c.last.Replies)
	return ""
}

const (
	yesButton = iota
	againButton
	cancelButton
)
