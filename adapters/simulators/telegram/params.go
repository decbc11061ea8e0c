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

// maxCallBytes bounds the body of a Bot API call, in bytes. The longest call without a file, a text of 4096
// characters with its keyboard, is much shorter.
const maxCallBytes = 1 << 20

// params holds the parameters of a call as text, as Telegram's own server does: a JSON string without its
// quotes, any other JSON value as its source. So a number, a keyboard or a flag is read in the same way
// from the query, a form field or a JSON body.
type params map[string]string

// readParams returns the parameters of a request from its query and its body. A parameter in the query
// replaces the one in the body.
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

// parseParams reads a body according to its content type. An empty body of any type has no parameters:
// clients send that for getMe.
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

// integer returns an integer; ok is false if it is missing or not an integer.
func (p params) integer(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(p[name]), 10, 64)
	return n, err == nil
}

// truth returns a flag, in any spelling that Telegram accepts.
func (p params) truth(name string) bool {
	switch strings.ToLower(p[name]) {
	case "true", "yes", "1":
		return true
	}
	return false
}

// decode decodes a JSON parameter into target. It does nothing if the parameter is missing.
func (p params) decode(name string, target any) error {
	if p[name] == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(p[name]), target); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
