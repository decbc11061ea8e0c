package llm

import (
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/outbound"
)

func TestAnswer_EveryStream_ReadOrRejected(t *testing.T) {
	t.Parallel()
	const stop = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	for name, c := range map[string]struct{ stream, text, fails string }{
		"pieces": {"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Yes\"}}]}\n\n" +
			"data: {\"choices\":[{\"delta\":{\"content\":\", it does.\"}}]}\n\n" + stop + "data: [DONE]\n\n",
			"Yes, it does.", ""},
		"comments and fields": {": keep-alive\n\nevent: message\nid: 7\n" +
			"data: {\"choices\":[{\"delta\":{\"content\":\"Yes\"}}]}\n\n" + stop, "Yes", ""},
		"carriage returns":  {"data: {\"choices\":[{\"delta\":{\"content\":\"Yes\"}}]}\r\n\r\n" + stop, "Yes", ""},
		"data on two lines": {"data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"Yes\"}}]}\n\n" + stop, "Yes", ""},
		"nulls": {"data: {\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":null},\"finish_reason\":null}]," +
			"\"usage\":null,\"error\":null}\n\n" + stop, "", ""},
		"another choice": {"data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"No\"}}]}\n\n" + stop, "", ""},
		"no last line":   {strings.TrimSpace(stop), "", ""},
		"nothing":        {"", "", "cut off"},
		"done too soon":  {"data: [DONE]\n\n", "", "cut off"},
		"not JSON":       {"data: <html>\n\n", "", "cannot be read"},
		"error, object":  {"data: {\"error\":{\"message\":\"out of memory\"}}\n\n", "", "out of memory"},
		"error, text":    {"data: {\"error\":\"out of memory\"}\n\n", "", "out of memory"},
		"endless event":  {"data: " + strings.Repeat("x", maxEvent), "", "too long"},
	} {
		var a answer
		err := a.read(outbound.Response{Body: strings.NewReader(c.stream)})
		switch {
		case c.fails != "":
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v, want %q", name, err, c.fails)
			}
		case err != nil || a.text.String() != c.text:
			t.Errorf("%s: %q, %v", name, a.text.String(), err)
		}
	}
}
