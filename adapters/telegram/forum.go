package telegram

import (
	"context"
	"errors"
	"strings"

	"github.com/go-telegram/bot"

	"github.com/chatledger/chatledger/commands"
)

// maxGoneTopics bounds the topics of a bot that are remembered as gone: far more than one
// bot's groups delete while a process runs, and some 50 KB.
const maxGoneTopics = 1000

// topic is a forum topic of a group.
type topic struct{ chat, thread int64 }

// sendInTopic sends a message into its topic. If the topic no longer exists or is closed,
// nothing was sent, and the message is sent once more without it. A topic that no longer
// exists is remembered, because its id is never used again; a closed one can be reopened.
// It returns the topic that the message could not be sent to, or 0.
func (c *Client) sendInTopic(ctx context.Context, chatID int64, m commands.SendMessage) (id, missed int64, err error) {
	if m.Thread == 0 {
		id, err = c.send(ctx, chatID, m)
		return id, 0, err
	}
	to := topic{chatID, m.Thread}
	if !c.gone.Contains(to) {
		id, err = c.send(ctx, chatID, m)
		closed, deleted := topicProblem(err)
		if !closed && !deleted {
			return id, 0, err
		}
		if deleted {
			c.gone.Add(to, struct{}{})
		}
	}
	missed, m.Thread = m.Thread, 0
	id, err = c.send(ctx, chatID, m)
	return id, missed, err
}

// topicProblem reports whether an error says that the topic is closed or does not exist.
func topicProblem(err error) (closed, deleted bool) {
	if !errors.Is(err, bot.ErrorBadRequest) {
		return false, false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "topic_closed"),
		strings.Contains(text, "topic_deleted") || strings.Contains(text, "message thread not found")
}
