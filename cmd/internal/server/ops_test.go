package server

import (
	"context"
	"testing"
)

// A client that goes away must not leave its cancellation to those who get the same answer.
func TestRecent_ClientGone_AnswerIsRead(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var r recent
	said := r.ask(gone, func(ctx context.Context) work { return work{Moves: ctx.Err() == nil} })
	if !said.Moves {
		t.Error("the answer was read with the context of a client that had gone")
	}
}
