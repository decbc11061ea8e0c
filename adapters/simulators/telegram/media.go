package telegramsim

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Telegram's limits for a caption, in UTF-16 units, and for an album, in files.
const (
	maxCaption = 1024
	minAlbum   = 2
	maxAlbum   = 10
)

// Media is a file that the bot sent. The simulator stores no files: it accepts any id.
type Media struct {
	Kind   string `json:"kind"` // photo, document or voice
	FileID string `json:"file_id"`
}

func (b *bot) sendPhoto(p params) (answer, *apiError)    { return b.sendFile(p, "photo") }
func (b *bot) sendDocument(p params) (answer, *apiError) { return b.sendFile(p, "document") }
func (b *bot) sendVoice(p params) (answer, *apiError)    { return b.sendFile(p, "voice") }

func (b *bot) sendFile(p params, kind string) (answer, *apiError) {
	m, fault := newMedia(kind, p[kind], p["caption"], p["parse_mode"])
	if fault != nil {
		return answer{}, fault
	}
	if m.markup, fault = readMarkup(p["reply_markup"]); fault != nil {
		return answer{}, fault
	}
	sent, fault := b.send(p, m)
	if fault != nil {
		return answer{}, fault
	}
	return answer{result: sent[0]}, nil
}

func (b *bot) sendMediaGroup(p params) (answer, *apiError) {
	var items []struct {
		Type      string `json:"type"`
		Media     string `json:"media"`
		Caption   string `json:"caption"`
		ParseMode string `json:"parse_mode"`
	}
	if err := p.decode("media", &items); err != nil {
		return answer{}, badRequest("can't parse media JSON object")
	}
	if len(items) < minAlbum || len(items) > maxAlbum {
		return answer{}, badRequest("there must be from 2 to 10 messages to send in an album")
	}
	b.mu.Lock()
	album := strconv.FormatInt(b.nextCallback, 10) // unique, as the id of a query
	b.nextCallback++
	b.mu.Unlock()
	var messages []*message
	for _, item := range items {
		if !slices.Contains([]string{"photo", "document"}, item.Type) || item.Type != items[0].Type {
			return answer{}, badRequest("can't mix media of these types in an album")
		}
		m, fault := newMedia(item.Type, item.Media, item.Caption, item.ParseMode)
		if fault != nil {
			return answer{}, fault
		}
		m.album = album
		messages = append(messages, m)
	}
	sent, fault := b.send(p, messages...)
	if fault != nil {
		return answer{}, fault
	}
	return answer{result: sent}, nil
}

// newMedia returns a message with a file that is given by its id.
func newMedia(kind, fileID, caption, mode string) (*message, *apiError) {
	switch address, err := url.Parse(fileID); {
	case fileID == "":
		return nil, badRequest("there is no " + kind + " in the request")
	case err != nil || address.Scheme != "" || strings.ContainsAny(fileID, "./ "):
		return nil, badRequest("wrong remote file identifier specified: Wrong character in the string")
	}
	text, entities, fault := parseFormatted(caption, mode)
	switch {
	case fault != nil:
		return nil, fault
	case utf16Len(strings.TrimSpace(text)) > maxCaption:
		return nil, badRequest("message caption is too long")
	}
	return &message{text: text, entities: marked(entities), media: Media{kind, fileID}}, nil
}

// wireMedia holds the fields of a Message with a file.
type wireMedia struct {
	Photo    []wireFile      `json:"photo,omitempty"`
	Document *wireFile       `json:"document,omitempty"`
	Voice    *wireFile       `json:"voice,omitempty"`
	Caption  string          `json:"caption,omitempty"`
	Marks    json.RawMessage `json:"caption_entities,omitempty"`
	Album    string          `json:"media_group_id,omitempty"`
}

type wireFile struct {
	FileID   string `json:"file_id"`
	UniqueID string `json:"file_unique_id"`
}

func (m *message) wireMedia() wireMedia {
	out := wireMedia{Caption: m.text, Marks: m.entities, Album: m.album}
	file := wireFile{m.media.FileID, "u" + m.media.FileID}
	switch m.media.Kind {
	case "photo":
		out.Photo = []wireFile{file}
	case "document":
		out.Document = &file
	case "voice":
		out.Voice = &file
	}
	return out
}
