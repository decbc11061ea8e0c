package telegramsim

import (
	"bytes"
	"encoding/json"
	"strings"
)

// maxCallbackData is Telegram's limit for a button's callback_data, in bytes.
const maxCallbackData = 64

// readMarkup checks a reply_markup and returns it in canonical form (sorted keys, no spaces), so that
// editMessageText can compare it. An inline keyboard without buttons counts as none, as at Telegram.
func readMarkup(source string) (json.RawMessage, *apiError) {
	if source == "" {
		return nil, nil
	}
	var markup map[string]any
	decoder := json.NewDecoder(strings.NewReader(source))
	decoder.UseNumber()
	if decoder.Decode(&markup) != nil {
		return nil, badRequest("object expected as reply markup")
	}
	if keyboard, inline := markup["inline_keyboard"]; inline {
		buttons, fault := checkInline(keyboard)
		if fault != nil {
			return nil, fault
		}
		if buttons == 0 {
			return nil, nil
		}
	}
	if len(markup) == 0 {
		return nil, nil
	}
	return mustJSON(markup), nil
}

func checkInline(keyboard any) (buttons int, fault *apiError) {
	rows, ok := keyboard.([]any)
	if !ok {
		return 0, badRequest(`field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays`)
	}
	for _, row := range rows {
		cells, ok := row.([]any)
		if !ok {
			return 0, badRequest(`field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays`)
		}
		for _, cell := range cells {
			button, ok := cell.(map[string]any)
			if !ok {
				return 0, badRequest("can't parse inline keyboard button: InlineKeyboardButton must be an Object")
			}
			if text, _ := button["text"].(string); text == "" {
				return 0, badRequest(`can't parse inline keyboard button: Can't find field "text"`)
			}
			if len(button) < 2 {
				return 0, badRequest("can't parse inline keyboard button: Text buttons are unallowed in the inline " +
					"keyboard")
			}
			if data, given := button["callback_data"]; given {
				text, isText := data.(string)
				if !isText || text == "" || len(text) > maxCallbackData {
					return 0, badRequest("BUTTON_DATA_INVALID")
				}
			}
			buttons++
		}
	}
	return buttons, nil
}

// isInline reports whether a reply_markup is an inline keyboard. The other kinds are instructions to the
// customer's app and not part of the message.
func isInline(markup json.RawMessage) bool {
	return bytes.Contains(markup, []byte(`"inline_keyboard"`))
}
