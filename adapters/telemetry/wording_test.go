package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestWording_QuotedValues_Removed(t *testing.T) {
	t.Parallel()
	const quoted = "Ada's"
	_, number := strconv.Atoi(quoted)
	_, at := time.Parse(time.RFC3339, quoted)
	var into struct{ Age int }
	figure := json.Unmarshal([]byte(`{"age": 44.17}`), &into)
	for want, err := range map[string]error{
		"call: Get api.example.com: EOF": &url.Error{
			Op: "Get", URL: "https://api.example.com/bot" + quoted, Err: io.EOF,
		},
		"call: Get a URL: EOF": &url.Error{Op: "Get", URL: "%zz" + quoted, Err: io.EOF},
		"call: Get h: strconv.Atoi: invalid syntax": &url.Error{
			Op: "Get", URL: "//h/" + quoted, Err: fmt.Errorf("%w", number),
		},
		"call: ERROR: value rejected (SQLSTATE 22P02)": &pgconn.PgError{
			Severity: "ERROR", Code: "22P02", Message: "invalid input: " + quoted,
		},
		"call: ERROR: relation \"x\" is no table (SQLSTATE 42P01)": &pgconn.PgError{
			Severity: "ERROR", Code: "42P01", Message: `relation "x" is no table`, Detail: quoted,
		},
		"call: strconv.Atoi: invalid syntax":                             number,
		"call: not a time of the form " + time.RFC3339:                   at,
		"call: json: cannot unmarshal number into field Age of type int": figure,
	} {
		if got := Wording(fmt.Errorf("call: %w", err)); got != want {
			t.Errorf("%v\n got  %s\n want %s", err, got, want)
		}
		both := Wording(errors.Join(io.EOF, err))
		if strings.Contains(both, quoted) || strings.Contains(both, "44") || !strings.HasPrefix(both, "EOF\n") {
			t.Errorf("joined: %s", both)
		}
	}
}

// The errors in a line do not contain the values that they quote.
func TestLog_Errors_QuotedValuesRemoved(t *testing.T) {
	t.Parallel()
	var written strings.Builder
	log := NewLogger(&written, LogConfig{Level: slog.LevelDebug - 4})
	err := &url.Error{Op: "Post", URL: "https://api.example.com/bot1:token", Err: io.EOF}
	log.With("first", err).Error("it failed", "second", fmt.Errorf("send: %w", err))
	log.Log(t.Context(), slog.LevelDebug-4, "the data of a request")
	_, line, _ := strings.Cut(strings.TrimSpace(written.String()), " ")
	want := `level=ERROR msg="it failed" first="Post api.example.com: EOF" second="send: Post api.example.com: EOF"`
	if line != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}
