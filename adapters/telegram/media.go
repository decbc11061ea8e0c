package telegram

import (
	"context"
	"fmt"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// sendMedia sends files that Telegram already has, by their file ids: one file with its
// caption, or several as an album. For an album it returns the id of the first message.
func (c *Client) sendMedia(ctx context.Context, chatID int64, m commands.SendMessage) (int64, error) {
	if len(m.Media) > 1 {
		return c.sendAlbum(ctx, chatID, m)
	}
	file, mode, thread := &models.InputFileString{Data: m.Media[0].FileID}, parseModes[m.Format], int(m.Thread)
	switch kind := m.Media[0].Kind; kind {
	case chat.Photo:
		return idOf(c.api.SendPhoto(ctx, &bot.SendPhotoParams{ChatID: chatID, Photo: file,
			Caption: m.Text, ParseMode: mode, MessageThreadID: thread, ReplyMarkup: markup(m.Buttons)}))
	case chat.Document:
		return idOf(c.api.SendDocument(ctx, &bot.SendDocumentParams{ChatID: chatID, Document: file,
			Caption: m.Text, ParseMode: mode, MessageThreadID: thread, ReplyMarkup: markup(m.Buttons)}))
	case chat.Voice:
		return idOf(c.api.SendVoice(ctx, &bot.SendVoiceParams{ChatID: chatID, Voice: file,
			Caption: m.Text, ParseMode: mode, MessageThreadID: thread, ReplyMarkup: markup(m.Buttons)}))
	default:
		return 0, fmt.Errorf("%w, media of kind %q cannot be sent", bot.ErrorBadRequest, kind)
	}
}

// sendAlbum sends photos or documents as one album, which cannot have buttons. Telegram
// shows the first photo's caption below the whole album, but a document's caption below
// that document; so the last document gets it.
func (c *Client) sendAlbum(ctx context.Context, chatID int64, m commands.SendMessage) (int64, error) {
	album := make([]models.InputMedia, len(m.Media))
	for i, file := range m.Media {
		switch file.Kind {
		case chat.Photo:
			photo := &models.InputMediaPhoto{Media: file.FileID}
			if i == 0 {
				photo.Caption, photo.ParseMode = m.Text, parseModes[m.Format]
			}
			album[i] = photo
		case chat.Document:
			document := &models.InputMediaDocument{Media: file.FileID}
			if i == len(m.Media)-1 {
				document.Caption, document.ParseMode = m.Text, parseModes[m.Format]
			}
			album[i] = document
		default:
			return 0, fmt.Errorf("%w, media of kind %q cannot be sent in an album", bot.ErrorBadRequest, file.Kind)
		}
	}
	sent, err := c.api.SendMediaGroup(ctx,
		&bot.SendMediaGroupParams{ChatID: chatID, Media: album, MessageThreadID: int(m.Thread)})
	if err != nil {
		return 0, err
	}
	if len(sent) == 0 {
		return 0, nil // the API reported success
	}
	return int64(sent[0].ID), nil
}
