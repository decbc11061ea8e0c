// Package domaintest tests a decider in sentences: given what happened, when
// this is asked, then that happens. The order is held by the types.
package domaintest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain"
)

// Spec is a decider under test.
type Spec[State, Command, Settings any] struct {
	t        testing.TB
	decider  domain.Decider[State, Command, Settings]
	settings Settings
	state    State
}

// History is a spec whose past is told.
type History[State, Command, Settings any] struct {
	spec Spec[State, Command, Settings]
}

// Outcome is what a command led to.
type Outcome[State any] struct {
	t      testing.TB
	Events []domain.Event
	State  State
	err    error
}

// Of starts a spec of a decider that decides under these settings.
func Of[State, Command, Settings any](
	t testing.TB, d domain.Decider[State, Command, Settings], settings Settings,
) Spec[State, Command, Settings] {
	return Spec[State, Command, Settings]{t: t, decider: d, settings: settings, state: d.Initial()}
}

// Given tells what has happened.
func (s Spec[State, Command, Settings]) Given(events ...domain.Event) History[State, Command, Settings] {
	s.state = s.decider.Fold(s.state, events...)
	return History[State, Command, Settings]{s}
}

// When asks for something.
func (h History[State, Command, Settings]) When(command Command) Outcome[State] {
	events, err := h.spec.decider.Decide(h.spec.state, command, h.spec.settings)
	return Outcome[State]{h.spec.t, events, h.spec.decider.Fold(h.spec.state, events...), err}
}

// Then asserts exactly these events.
func (o Outcome[State]) Then(want ...domain.Event) Outcome[State] {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("refused: %v", o.err)
	}
	if diff := cmp.Diff(want, o.Events); diff != "" {
		o.t.Fatalf("events (-want +got):\n%s", diff)
	}
	return o
}

// ThenNothing asserts that nothing happens and nothing is refused.
func (o Outcome[State]) ThenNothing() Outcome[State] {
	o.t.Helper()
	return o.Then()
}

// Err is why the command was refused; nil when it was not.
func (o Outcome[State]) Err() error { return o.err }

// ThenRefused asserts the named error.
func (o Outcome[State]) ThenRefused(want error) {
	o.t.Helper()
	if !errors.Is(o.err, want) {
		o.t.Fatalf("got events %+v and error %v, want error %v", o.Events, o.err, want)
	}
}
