package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Wording returns the text of an error without values that it may quote: it keeps only the
// host of a URL, and only the expected type of a value that could not be parsed. The value
// itself is in the ledger; logs are copied to more places and must not contain it.
//
// Our own errors quote only names of streams, bots and files. Wording is for the errors of
// libraries.
func Wording(err error) string {
	text := err.Error()
	walk(err, func(inner error) {
		if said := inner.Error(); said != "" {
			if safe := reworded(inner); safe != said {
				text = strings.ReplaceAll(text, said, safe)
			}
		}
	})
	return text
}

// walk visits an error and all that it wraps, the outermost first, because its text contains those of the
// inner ones.
func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			walk(one, visit)
		}
	}
}

// dataException is the class of SQLSTATEs whose messages quote the value.
const dataException = "22"

// reworded returns the text of an error, without the value if it is of a type that quotes one.
func reworded(err error) string {
	switch e := err.(type) {
	case *url.Error:
		host := "a URL"
		if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
			host = u.Host
		}
		return fmt.Sprintf("%s %s: %s", e.Op, host, Wording(e.Err))
	case *pgconn.PgError:
		if strings.HasPrefix(e.Code, dataException) {
			return fmt.Sprintf("%s: value rejected (SQLSTATE %s)", e.Severity, e.Code)
		}
	case *json.UnmarshalTypeError:
		kind, _, _ := strings.Cut(e.Value, " ") // Value of a number contains its digits
		return fmt.Sprintf("json: cannot unmarshal %s into field %s of type %s", kind, e.Field, e.Type)
	case *strconv.NumError:
		return fmt.Sprintf("strconv.%s: %s", e.Func, e.Err)
	case *time.ParseError:
		return "not a time of the form " + e.Layout
	}
	return err.Error()
}

// worded is a handler that applies Wording to the errors in a line.
type worded struct{ slog.Handler }

func (h worded) Handle(ctx context.Context, r slog.Record) error {
	safe := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		safe.AddAttrs(reword(a))
		return true
	})
	return h.Handler.Handle(ctx, safe)
}

func (h worded) WithAttrs(attrs []slog.Attr) slog.Handler {
	safe := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		safe[i] = reword(a)
	}
	return worded{h.Handler.WithAttrs(safe)}
}

func (h worded) WithGroup(name string) slog.Handler { return worded{h.Handler.WithGroup(name)} }

func reword(a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok && err != nil {
		return slog.String(a.Key, Wording(err))
	}
	return a
}
