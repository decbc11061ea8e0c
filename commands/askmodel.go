package commands

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/llm"
)

// AskModel is the payload of domain.KindAskModel.
type AskModel struct {
	Ask      int           `json:"ask"`
	Messages []llm.Message `json:"messages"`
	Tools    []string      `json:"tools,omitempty"`
	Tokens   int           `json:"tokens"` // that are left
	Until    time.Time     `json:"until"`  // later the answer is of no use
}

// Answered is the command that records what came of a question.
func (a AskModel) Answered(delivery uuid.UUID, at time.Time) chat.RecordModel {
	return chat.RecordModel{Delivery: delivery, Ask: a.Ask, At: at}
}

// askModel completes the delivery that asks a model. The questions of a chat have an ordering
// key of their own, so that a slow answer delays no message.
func askModel(d Delivery, e chat.ModelAsked, bot string, chatID int64) Delivery {
	d.Kind, d.Destination, d.OrderingKey = domain.KindAskModel, "llm:"+bot, "llm-"+bot+":"+strconv.FormatInt(chatID,
		10)
	d.Payload = AskModel{e.Ask, e.Messages, e.Tools, e.Tokens, e.Until}
	return d
}
