package telegram

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// gatewayError is the error of a call that a gateway before the Bot API answered, such as a
// reverse proxy with its page "502 Bad Gateway". Most likely the Bot API did not do the call.
type gatewayError struct {
	Status      int
	ContentType string
}

func (e *gatewayError) Error() string {
	kind := e.ContentType
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("%d %s (%s): a gateway answered, not the Bot API", e.Status, http.StatusText(e.Status), kind)
}

// fromGateway returns an error if the answer is a gateway's, and otherwise leaves the body
// unread. Every answer of the Bot API is a JSON object with a field ok. An answer with
// status 200 that is JSON but cut short is not a gateway's: the call may have been done.
func fromGateway(resp *http.Response) *gatewayError {
	gateway := &gatewayError{resp.StatusCode, resp.Header.Get("Content-Type")}
	if resp.StatusCode/100 != 2 {
		body, _ := io.ReadAll(resp.Body) // a body cut short is not valid JSON below: a gateway's answer
		var answer struct {
			OK *bool `json:"ok"`
		}
		if json.Unmarshal(body, &answer) != nil || answer.OK == nil {
			return gateway
		}
		resp.Body = readCloser{bytes.NewReader(body), resp.Body}
		return nil
	}
	if strings.Contains(strings.ToLower(gateway.ContentType), "html") {
		return gateway
	}
	body := bufio.NewReader(resp.Body)
	resp.Body = readCloser{body, resp.Body}
	start, _ := body.Peek(pageStart)
	if bytes.HasPrefix(bytes.TrimSpace(start), []byte("<")) {
		return gateway
	}
	return nil
}

// pageStart is how many bytes are read to recognise a page: some space before its first tag.
const pageStart = 64

type readCloser struct {
	io.Reader
	io.Closer
}
