package telegramsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxCallBytes bounds the body of one Bot API call. The longest call without a
// file is a text of 4096 characters with its keyboard; 1 MiB is ample.
const maxCallBytes = 1 << 20

// params are the parameters of one call, all as text, the way Telegram's own
// server sees them: a JSON string loses its quotes, any other JSON value keeps
// its source. So a number, a keyboard or a flag reads alike whether it came in
// the query, a form field or a JSON body.
type params map[string]string

// readParams collects the parameters of a request from its query and its body.
// The query wins, as it is read first.
func readParams(r *http.Request) (params, *apiError) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxCallBytes+1))
	if err != nil {
		return nil, badRequest(err.Error())
	}
	if len(body) > maxCallBytes {
		return nil, &apiError{code: http.StatusRequestEntityTooLarge, description: "Request Entity Too Large"}
	}
	p, err := parseParams(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	if r.URL.RawQuery != "" {
		p.addForm(r.URL.Query())
	}
	return p, nil
}

// parseParams reads a body by its content type. An empty body has no
// parameters whatever its type says: clients send that for getMe.
func parseParams(contentType string, body []byte) (params, error) {
	p := params{}
	if len(bytes.TrimSpace(body)) == 0 {
		return p, nil
	}
	kind, details, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "application/json":
		return p, p.addJSON(body)
	case "multipart/form-data":
		form, err := multipart.NewReader(bytes.NewReader(body), details["boundary"]).ReadForm(maxCallBytes)
		if err != nil {
			return nil, err
		}
		defer form.RemoveAll()
		p.addForm(form.Value)
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		p.addForm(form)
	}
	return p, nil
}

func (p params) addForm(form map[string][]string) {
	for name, values := range form {
		if len(values) > 0 {
			p[name] = values[0]
		}
	}
}

func (p params) addJSON(body []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return errors.New("can't parse JSON object")
	}
	for name, raw := range fields {
		switch {
		case string(raw) == "null": // absent
		case raw[0] == '"':
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return err
			}
			p[name] = text
		default:
			p[name] = string(raw)
		}
	}
	return nil
}

// integer reads a whole number; ok is false when it is missing or is not one.
func (p params) integer(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(p[name]), 10, 64)
	return n, err == nil
}

// truth reads a flag, spelled as freely as Telegram allows.
func (p params) truth(name string) bool {
	switch strings.ToLower(p[name]) {
	case "true", "yes", "1":
		return true
	}
	return false
}

// decode reads a JSON parameter into target; absent leaves it alone.
func (p params) decode(name string, target any) error {
	if p[name] == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(p[name]), target); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
