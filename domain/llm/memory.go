package llm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Bounds of a memory, so that a chat's state stays small: some 4 KiB when full.
const (
	linesMax  = 10  // messages kept as they were
	lineMax   = 300 // characters of each
	topicsMax = 6
	ordersMax = 4
	endsMax   = 4
)

// Memory is what a model is reminded of: the last messages as they were said, and of
// those before them what was wanted, which orders they were about, and what came of it.
// It is a value: its methods leave the old one alone.
type Memory struct {
	Lines  []Line   // oldest first
	Older  int      // messages before them
	Topics []string // intents of the conversation, oldest first
	Orders []string // numbers that were mentioned before Lines
	Ends   []string // workflows and cases that came to an end
}

// Line is one message. MessageID is 0 of what did not come from a customer.
type Line struct {
	Role      Role
	Text      string
	MessageID int64
}

// Hear adds a message.
func (m Memory) Hear(l Line) Memory {
	if l.Text = domain.Shorten(l.Text, lineMax); l.Text == "" {
		return m
	}
	if len(m.Lines) == linesMax {
		m.Older++
		if order := dialog.OrderNumber(m.Lines[0].Text); order != "" {
			m.Orders = remember(m.Orders, order, ordersMax)
		}
	}
	m.Lines = domain.KeepLast(m.Lines, l, linesMax)
	return m
}

// Understand adds what a message was taken to want.
func (m Memory) Understand(intent dialog.Intent) Memory {
	switch intent {
	case dialog.Unknown, dialog.Pressed, dialog.Corrected, dialog.Answered, dialog.Waited, dialog.File:
		return m
	}
	m.Topics = remember(m.Topics, string(intent), topicsMax)
	return m
}

// End adds that something came to an end.
func (m Memory) End(what string) Memory {
	m.Ends = remember(m.Ends, what, endsMax)
	return m
}

// before are the messages that were said before one of the customer's, as the model is
// told them.
func (m Memory) before(message int64) (said []Message) {
	for _, l := range m.Lines {
		if l.MessageID == 0 || message == 0 || l.MessageID < message {
			said = append(said, Message{Role: l.Role, Text: l.Text})
		}
	}
	return said
}

// summary is what is known of older messages; "" when there are none.
func (m Memory) summary() string {
	var parts []string
	add := func(format string, list []string) {
		if len(list) > 0 {
			parts = append(parts, fmt.Sprintf(format, strings.Join(list, ", ")))
		}
	}
	if m.Older > 0 {
		parts = append(parts, fmt.Sprintf("%d older messages are left out.", m.Older))
	}
	add("So far it was about: %s.", m.Topics)
	add("Orders mentioned: %s.", m.Orders)
	add("Came to an end: %s.", m.Ends)
	return strings.Join(parts, " ")
}

// remember puts an item at the end of a list, once.
func remember(list []string, item string, n int) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == item })
	return domain.KeepLast(list, item, n)
}
