package eventstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// lastWriteCounts is how long CheckWritable relies on the last append or check of the disk. Load
// balancers ask every second or so, and a check must not cost a write each time.
const lastWriteCounts = 5 * time.Second

// lastWrite is the result of the last append or check of the disk.
type lastWrite struct {
	at  time.Time
	err error // nil if the server could write
}

// noteWrite stores whether an append showed that the server can write. An append that was rejected
// because of its content, or of a conflict, does not show it.
func (s *Store) noteWrite(err error) {
	if err == nil || exhausted(err) {
		s.lastWrite.Store(&lastWrite{time.Now(), err})
	}
}

// exhausted reports whether the server lacks what every write needs: disk space or memory
// (class 53), or a working disk (class 58).
func exhausted(err error) bool { return postgres.HasCode(err, "53", "58") }

// CheckWritable returns an error if an update could not be appended now. It runs the append's
// statement with no event, which fails without a server, a schema or rights, and times out while a
// table is locked. That statement needs no space, so CheckWritable also checks the last append, or the
// disk.
func (s *Store) CheckWritable(ctx context.Context) error {
	_, err := s.Pool().Exec(ctx, insertOne, "", 0, "", 0, nil, "", 0, nil, nil, nil, nil, "", nil, nil, "")
	if err != nil {
		return fmt.Errorf("check whether an append is possible: %w", err)
	}
	if last := s.lastWrite.Load(); last != nil && time.Since(last.at) < lastWriteCounts {
		return last.err
	}
	err = s.tryDisk(ctx)
	s.noteWrite(err)
	return err
}

// Identity identifies the database. Two stores have the same identity if they are connected to the
// same database of the same cluster, whatever the address and role. It is a digest, which does not
// reveal them.
func (s *Store) Identity(ctx context.Context) (string, error) {
	var id string
	// The system identifier is made by initdb and shared by a cluster and its standbys.
	err := s.Pool().QueryRow(ctx, `
		select encode(sha256(convert_to(c.system_identifier || '/' || d.oid, 'UTF8')), 'hex')
		from pg_control_system() c, pg_database d where d.datname = current_database()`).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("read the identity of the database: %w", err)
	}
	return id, nil
}

// tryDisk writes a MiB to the disk that holds the tables, into a temporary file that the server
// deletes after the statement. Writing a row would not detect a full disk: an update finds space in
// the row's page, and an insert in a vacuumed page, while events need new pages. tryDisk takes no
// transaction id and leaves nothing to vacuum.
func (s *Store) tryDisk(ctx context.Context) error {
	var b pgx.Batch // one transaction, in which the settings are valid
	b.Queue(`select set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)`)
	// The result is larger than work_mem, so the server writes it to the disk.
	b.Queue(`select count(*) from unnest(array_fill(repeat('x', 8192), array[128]))`)
	if err := s.Pool().SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("check the server's disk: %w", err)
	}
	return nil
}
