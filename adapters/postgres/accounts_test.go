//go:build unix

package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/commands"
)

// An operator is known by the hash of their token until disabled.
func TestOperatorToken_Hashed_ValidUntilDisabled(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	if err := s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, nil); err != nil {
		t.Fatal(err)
	}
	known := func(token byte) bool {
		t.Helper()
		o, known, err := s.OperatorOf(t.Context(), [32]byte{token})
		if err != nil || known && o.Name != "maria" {
			t.Fatal(o, err)
		}
		return known
	}
	if !known(1) || known(2) {
		t.Error("she is not known by her token, or by another")
	}
	if err := s.PutOperator(t.Context(), "maria", commands.Viewer, [32]byte{2}, nil); err != nil {
		t.Fatal(err)
	}
	if known(1) || !known(2) {
		t.Error("the former token counts still")
	}
	if err := s.SawOperator(t.Context(), "maria"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Operators(t.Context())
	if err != nil || len(list) != 1 || list[0].Role != commands.Viewer || list[0].LastSeen.IsZero() {
		t.Errorf("%+v %v", list, err)
	}
	session := [32]byte{9}
	if err := s.SetPassword(t.Context(), "maria", "hash"); err != nil {
		t.Fatal(err)
	}
	loggedIn := func() bool {
		t.Helper()
		_, known, err := s.SessionOf(t.Context(), session)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	open := func(lasts time.Duration) {
		t.Helper()
		session[0]++
		if err := s.OpenSession(t.Context(), "maria", session, lasts); err != nil {
			t.Fatal(err)
		}
	}
	if hash, totp, err := s.Password(t.Context(), "maria"); err != nil || hash != "hash" || totp != nil {
		t.Error(hash, totp, err)
	}
	for what, end := range map[string]func() error{
		"logging out":     func() error { return s.CloseSession(t.Context(), session) },
		"a new password":  func() error { return s.SetPassword(t.Context(), "maria", "other") },
		"a second factor": func() error { return s.SetTOTP(t.Context(), "maria", []byte("seed")) },
	} {
		if open(time.Hour); !loggedIn() {
			t.Error("she is not logged in")
		}
		if err := end(); err != nil || loggedIn() {
			t.Errorf("she is logged in after %s (%v)", what, err)
		}
	}
	if open(-time.Second); loggedIn() {
		t.Error("a session that is over counts")
	}
	open(time.Hour)
	if err := s.DisableOperator(t.Context(), "maria"); err != nil {
		t.Fatal(err)
	}
	if hash, totp, err := s.Password(t.Context(), "maria"); known(2) || loggedIn() || hash != "" ||
		totp != nil || err != nil {
		t.Error("she may still come in")
	}
	if err := s.DisableOperator(t.Context(), "jo"); err == nil {
		t.Error("nobody was shut out, and nobody says so")
	}
}

// A new token is no wider than the one before, unless that is said.
func TestOperatorBots_Unchanged_Kept(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	put := func(bots []string) func() error {
		return func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, bots) }
	}
	scope := func(bots []string) func() error {
		return func() error { return s.ScopeOperator(t.Context(), "maria", bots) }
	}
	for i, step := range []struct {
		do   func() error
		want string
	}{{put(nil), "[]"}, {put([]string{"shop", "demo"}), "[shop demo]"}, {put(nil), "[shop demo]"},
		{scope([]string{"shop"}), "[shop]"},
		{func() error { return s.DisableOperator(t.Context(), "maria") }, "[shop]"}, {put(nil), "[shop]"}, {
			put([]string{}), "[]",
		}, {scope([]string{"shop"}), "[shop]"}, {scope(nil), "[]"}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		list, err := s.Operators(t.Context())
		if err != nil || len(list) != 1 || fmt.Sprint(list[0].Bots) != step.want {
			t.Errorf("step %d: %+v %v, want %s", i, list, err, step.want)
		}
	}
	if err := s.ScopeOperator(t.Context(), "jo", nil); err == nil {
		t.Error("nobody's bots were set, and nobody says so")
	}
}

// An operator who is enabled again gets a new password, because the old one may have leaked.
func TestPassword_AccessRevoked_Removed(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	for _, step := range []func() error{
		func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, nil) },
		func() error { return s.SetPassword(t.Context(), "maria", "stolen") },
		func() error { return s.DisableOperator(t.Context(), "maria") },
		func() error { return s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{2}, nil) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if hash, _, err := s.Password(t.Context(), "maria"); hash != "" || err != nil {
		t.Errorf("%q %v", hash, err)
	}
}

// A login at the provider is one operator's, and goes with their access.
func TestLogin_OneOperator_EndsWithAccess(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	for n, name := range []string{"maria", "jo"} {
		if err := s.PutOperator(t.Context(), name, commands.Agent, [32]byte{byte(n + 1)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	who := func() string {
		t.Helper()
		o, _, err := s.OperatorByLogin(t.Context(), "maria@example.com")
		if err != nil {
			t.Fatal(err)
		}
		return o.Name
	}
	if err := s.SetLogin(t.Context(), "maria", "maria@example.com"); err != nil || who() != "maria" {
		t.Errorf("%q %v", who(), err)
	}
	if err := s.SetLogin(t.Context(), "jo", "maria@example.com"); err == nil || who() != "maria" {
		t.Errorf("it is %q's, too: %v", who(), err)
	}
	if err := s.SetLogin(t.Context(), "maria", ""); err != nil || who() != "" {
		t.Errorf("%q %v", who(), err)
	}
	if err := s.SetLogin(t.Context(), "jo", "maria@example.com"); err != nil || who() != "jo" {
		t.Errorf("%q %v", who(), err)
	}
	if err := s.DisableOperator(t.Context(), "jo"); err != nil || who() != "" {
		t.Errorf("%q may still log in: %v", who(), err)
	}
	if err := s.SetLogin(t.Context(), "nobody", "x"); err == nil {
		t.Error("nobody's login was set, and nobody says so")
	}
}

// A one-time password works once, and none works that is older than one that was used. A new secret
// begins anew; without a secret none works.
func TestUseCode_UsedOrOlder_Rejected(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	if err := s.PutOperator(t.Context(), "maria", commands.Agent, [32]byte{1}, nil); err != nil {
		t.Fatal(err)
	}
	secret := []byte("seed")
	for i, step := range []struct {
		set  bool
		code int64
		want bool
	}{{false, 10, false}, {true, 10, true}, {false, 10, false}, {false, 9, false}, {false, 11, true}, {true, 10, true}} {
		if step.set {
			if err := s.SetTOTP(t.Context(), "maria", secret); err != nil {
				t.Fatal(err)
			}
		}
		if ok, err := s.UseCode(t.Context(), "maria", step.code); ok != step.want || err != nil {
			t.Errorf("step %d: %v, %v", i, ok, err)
		}
	}
	if _, totp, err := s.Password(t.Context(), "maria"); string(totp) != string(secret) || err != nil {
		t.Errorf("%q %v", totp, err)
	}
	if err := s.SetTOTP(t.Context(), "jo", secret); err == nil {
		t.Error("nobody's secret was set, and nobody says so")
	}
}

// An operator has a few sessions and the newest.
func TestSessions_OverLimit_NewestKept(t *testing.T) {
	t.Parallel()
	s := accounts.New(newStore(t).DB)
	for _, name := range []string{"maria", "jo"} {
		if err := s.PutOperator(t.Context(), name, commands.Agent, [32]byte{name[0]}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.OpenSession(t.Context(), "jo", [32]byte{'j'}, time.Hour); err != nil {
		t.Fatal(err)
	}
	const opened, kept = 30, 20
	for n := range opened {
		if err := s.OpenSession(t.Context(), "maria", [32]byte{'m', byte(n)}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for n := range opened {
		if _, known, err := s.SessionOf(t.Context(), [32]byte{'m', byte(n)}); known != (n >= opened-kept) ||
			err != nil {
			t.Errorf("session %d of %d: %v %v", n, opened, known, err)
		}
	}
	if _, known, err := s.SessionOf(t.Context(), [32]byte{'j'}); !known || err != nil {
		t.Errorf("another's session: %v %v", known, err)
	}
}
