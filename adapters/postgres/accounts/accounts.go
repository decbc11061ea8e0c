// Package accounts stores the operators of the API: their roles, bots, tokens, passwords and
// sessions. Tokens, passwords and sessions are stored as hashes only.
package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
)

// Store keeps the accounts of one database. It is safe for concurrent use.
type Store struct{ db *postgres.DB }

// New returns the accounts of a database.
func New(db *postgres.DB) *Store { return &Store{db} }

// ErrNoOperator is returned when there is no operator with this name.
var ErrNoOperator = errors.New("operator does not exist: list the operators with `chatledger operator list`")

// PutOperator adds an operator with the hash of their token, or gives an existing operator another role
// and token. Empty bots mean all bots. Nil bots keep those of an existing operator, so that a new token
// does not widen an access by mistake.
func (s *Store) PutOperator(
	ctx context.Context, name string, role commands.Role, token [32]byte, bots []string,
) error {
	_, err := s.db.Pool().Exec(ctx, `
		insert into eventstore.operators (name, role, token_hash, bots) values ($1, $2, $3, coalesce($4::text[], '{}'))
		on conflict (name) do update set
			role = excluded.role, token_hash = excluded.token_hash, bots = coalesce($4, operators.bots),
			created_at = excluded.created_at, last_seen_at = null, disabled = false`,
		name, string(role), token[:], bots)
	if err != nil {
		return fmt.Errorf("add operator %s: %w", name, err)
	}
	return nil
}

// DisableOperator ends an operator's access, and deletes their password, second factor and login.
func (s *Store) DisableOperator(ctx context.Context, name string) error {
	done, err := s.db.Pool().Exec(ctx, `
		with ended as (delete from eventstore.operator_sessions where operator = $1)
		update eventstore.operators set
			disabled = true, password = null, totp_secret = null, totp_step = null, oidc_login = null
		where name = $1`, name)
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNoOperator
	}
	if err != nil {
		return fmt.Errorf("disable operator %s: %w", name, err)
	}
	return nil
}

// ScopeOperator sets the bots whose chats an operator may see and act on; empty means all
// bots. Their token and sessions stay.
func (s *Store) ScopeOperator(ctx context.Context, name string, bots []string) error {
	done, err := s.db.Pool().Exec(ctx, `update eventstore.operators set bots = $2 where name = $1`, name,
		append([]string{}, bots...))
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNoOperator
	}
	if err != nil {
		return fmt.Errorf("set the bots of operator %s: %w", name, err)
	}
	return nil
}

// Operators lists all operators, by name.
func (s *Store) Operators(ctx context.Context) ([]commands.Operator, error) {
	return postgres.Collect(ctx, s.db.Pool(), "list operators", operator,
		`select `+operatorColumns+` from eventstore.operators order by name`)
}

// OperatorOf returns the operator with the token of this hash, and whether there is one.
func (s *Store) OperatorOf(ctx context.Context, token [32]byte) (commands.Operator, bool, error) {
	return s.oneOperator(ctx,
		`select `+operatorColumns+` from eventstore.operators where token_hash = $1 and not disabled`, token[:])
}

// OperatorByLogin returns the operator with a login at the OpenID Connect provider, and whether there is
// one.
func (s *Store) OperatorByLogin(ctx context.Context, login string) (commands.Operator, bool, error) {
	return s.oneOperator(ctx,
		`select `+operatorColumns+` from eventstore.operators where oidc_login = $1 and not disabled`, login)
}

// SetLogin gives an operator the login under which the OpenID Connect provider knows them; "" removes
// it. It ends all their sessions.
func (s *Store) SetLogin(ctx context.Context, name, login string) error {
	done, err := s.db.Pool().Exec(ctx, `
		with ended as (delete from eventstore.operator_sessions where operator = $1)
		update eventstore.operators set oidc_login = nullif($2, '') where name = $1 and not disabled`, name, login)
	if postgres.HasCode(err, uniqueViolation) {
		err = fmt.Errorf("another operator has the login %s: remove it from that operator first", login)
	}
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNoOperator
	}
	if err != nil {
		return fmt.Errorf("set the login of operator %s: %w", name, err)
	}
	return nil
}

// uniqueViolation is the SQLSTATE of a value that another row has.
const uniqueViolation = "23505"

func (s *Store) oneOperator(ctx context.Context, query string, key any) (commands.Operator, bool, error) {
	rows, err := s.db.Pool().Query(ctx, query, key)
	if err != nil {
		return commands.Operator{}, false, fmt.Errorf("look for an operator: %w", err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, operator)
	if errors.Is(err, pgx.ErrNoRows) {
		return commands.Operator{}, false, nil
	}
	if err != nil {
		return commands.Operator{}, false, fmt.Errorf("look for an operator: %w", err)
	}
	return o, true, nil
}

// SetPassword sets the hash of an operator's password, and ends all their sessions.
func (s *Store) SetPassword(ctx context.Context, name, hash string) error {
	done, err := s.db.Pool().Exec(ctx, `
		with ended as (delete from eventstore.operator_sessions where operator = $1)
		update eventstore.operators set password = $2 where name = $1 and not disabled`, name, hash)
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNoOperator
	}
	if err != nil {
		return fmt.Errorf("set the password of operator %s: %w", name, err)
	}
	return nil
}

// SetTOTP gives an operator the secret of one-time passwords, so that a login needs one in addition to
// the password; nil removes it. It ends all their sessions.
func (s *Store) SetTOTP(ctx context.Context, name string, secret []byte) error {
	done, err := s.db.Pool().Exec(ctx, `
		with ended as (delete from eventstore.operator_sessions where operator = $1)
		update eventstore.operators set totp_secret = $2, totp_step = null where name = $1 and not disabled`, name, secret)
	if err == nil && done.RowsAffected() == 0 {
		err = ErrNoOperator
	}
	if err != nil {
		return fmt.Errorf("set the one-time passwords of operator %s: %w", name, err)
	}
	return nil
}

// UseCode records that the one-time password of a step was used. It returns false if that one, or a
// later one, was used before, in any process: each works once.
func (s *Store) UseCode(ctx context.Context, name string, step int64) (bool, error) {
	done, err := s.db.Pool().Exec(ctx, `
		update eventstore.operators set totp_step = $2
		where name = $1 and not disabled and totp_secret is not null and coalesce(totp_step < $2, true)`, name, step)
	if err != nil {
		return false, fmt.Errorf("use a one-time password of operator %s: %w", name, err)
	}
	return done.RowsAffected() == 1, nil
}

// Password returns the hash of an operator's password, or "" if they have none or the operator does not
// exist. totp is the secret of their one-time passwords, or nil if they need none.
func (s *Store) Password(ctx context.Context, name string) (hash string, totp []byte, err error) {
	err = s.db.Pool().QueryRow(ctx, `
		select coalesce(password, ''), totp_secret from eventstore.operators where name = $1 and not disabled`, name).
		Scan(&hash, &totp)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", nil, fmt.Errorf("look for an operator: %w", err)
	}
	return hash, totp, nil
}

// maxSessions is how many sessions an operator may have, one for each browser. A new session ends the
// oldest one.
const maxSessions = 20

// OpenSession begins an operator's session, and deletes expired ones.
func (s *Store) OpenSession(ctx context.Context, name string, session [32]byte, lasts time.Duration) error {
	_, err := s.db.Pool().Exec(ctx, `
		with over as (
			delete from eventstore.operator_sessions where expires_at < now() or session_hash in (
				select session_hash from eventstore.operator_sessions where operator = $2
				order by created_at desc, session_hash offset $4 - 1)
		)
		insert into eventstore.operator_sessions (session_hash, operator, expires_at) values ($1, $2, now() + $3)`,
		session[:], name, lasts, maxSessions)
	if err != nil {
		return fmt.Errorf("open a session of operator %s: %w", name, err)
	}
	return nil
}

// CloseSession ends a session, if there is one.
func (s *Store) CloseSession(ctx context.Context, session [32]byte) error {
	if _, err := s.db.Pool().Exec(ctx, `delete from eventstore.operator_sessions where session_hash = $1`,
		session[:]); err != nil {
		return fmt.Errorf("close a session: %w", err)
	}
	return nil
}

// SessionOf returns the operator of the session with this hash, and whether there is one.
func (s *Store) SessionOf(ctx context.Context, session [32]byte) (commands.Operator, bool, error) {
	return s.oneOperator(ctx, `
		select `+operatorColumns+` from eventstore.operators
		where name = (select operator from eventstore.operator_sessions
		              where session_hash = $1 and expires_at > now())
		  and not disabled`, session[:])
}

// SawOperator records when an operator was last seen.
func (s *Store) SawOperator(ctx context.Context, name string) error {
	if _, err := s.db.Pool().Exec(ctx, `update eventstore.operators set last_seen_at = now() where name = $1`,
		name); err != nil {
		return fmt.Errorf("note when operator %s was seen: %w", name, err)
	}
	return nil
}

const operatorColumns = `name, role, bots, created_at, coalesce(last_seen_at, '0001-01-01 00:00:00Z'), disabled,
	array_remove(array[
		case when password is not null then 'password' || case when totp_secret is not null then ' and code' else '' end end,
		case when oidc_login is not null then 'provider' end], null)`

func operator(row pgx.CollectableRow) (o commands.Operator, err error) {
	return o, row.Scan(&o.Name, &o.Role, &o.Bots, &o.Created, &o.LastSeen, &o.Disabled, &o.Logins)
}
