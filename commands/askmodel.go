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

// ModelUsage is what questions to a model took, or may take.
type ModelUsage struct {
	Calls  int64
	Tokens int64
	Cost   int64 // in millionths of the currency of the prices; as a limit, 0 is none
}

// Of returns which part of each limit of a budget is used, by what it limits.
func (u ModelUsage) Of(budget ModelUsage) map[string]float64 {
	parts := map[string]float64{}
	for of, one := range map[string][2]int64{
		"calls": {u.Calls, budget.Calls}, "tokens": {u.Tokens, budget.Tokens}, "cost": {u.Cost, budget.Cost},
	} {
		if one[1] > 0 {
			parts[of] = float64(one[0]) / float64(one[1])
		}
	}
	return parts
}

// ModelDay is a day of a bot's budget.
type ModelDay struct {
	Bot string
	Day time.Time
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
