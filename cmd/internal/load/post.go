package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// postTimeout is how long a receiver may take to answer.
const postTimeout = 15 * time.Second

// Poster returns a function that posts updates over kept-alive connections, at most so many at
// once, and fails unless the answer is 200. It closes a connection that failed. It writes the
// requests itself: net/http's client has two goroutines for each connection, which on a small
// machine take processor time from the receiver.
func Poster(address, path, secret string, connections int) func(context.Context, []byte) error {
	free := make(chan *connection, connections)
	for range connections {
		free <- &connection{}
	}
	return func(ctx context.Context, body []byte) (err error) {
		c, last := <-free, false
		defer func() {
			if c.Conn != nil && (last || err != nil) {
				c.Conn.Close()
				c.Conn = nil
			}
			free <- c
		}()
		if c.Conn == nil {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			c.Conn, c.answers = conn, bufio.NewReader(conn)
		}
		if err := c.SetDeadline(time.Now().Add(postTimeout)); err != nil {
			return err
		}
		c.request = fmt.Appendf(c.request[:0], "POST %s HTTP/1.1\r\nHost: %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n"+
			"X-Telegram-Bot-Api-Secret-Token: %s\r\n\r\n%s", path, address, len(body), secret, body)
		if _, err := c.Write(c.request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(c.answers, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		last = answer.Close
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the webhook answered %s", answer.Status)
		}
		return nil
	}
}

// connection is one connection of a poster. It is opened when it is first used.
type connection struct {
	net.Conn
	answers *bufio.Reader
	request []byte
}
