// Package postgres keeps the ledger: it appends and reads streams, hands the
// feed to consumer groups, and holds the deliveries and the quarantine. Every
// statement stands whole beside the Go that runs it.
package postgres

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Store is the event store of one database. It is safe for concurrent use.
type Store struct {
	pool      *pgxpool.Pool
	codec     *domain.Codec
	process   string // tells this process's announcements from others'
	announcer announcer
	pages     pages
	feed      *wake         // there are new events, from here or elsewhere
	appended  *wake         // there are new events from here
	owed      *wakes        // by bot: there are new deliveries, or a lane became free
	claiming  chan struct{} // holds one for each claim that may have a connection

	contendedUntil atomic.Int64 // Unix nanoseconds; see contendedFor
	news           atomic.Pointer[news]

	present   atomic.Bool // a session vouches for this process
	missingMu sync.Mutex
	missing   map[string]time.Time // holders of leases for whom nobody vouches, since when
}

// connections bounds the pool: a batch in the hands of each carrier, claimsAtOnce, and
// a few queries beside them. More than a few per core only queue inside the server.
func connections() int32 { return int32(8 + 2*runtime.NumCPU()) }

// Open connects to a migrated database. name is shown to whoever asks the server
// who is connected.
func Open(ctx context.Context, dsn, name string, codec *domain.Codec) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	config.MaxConns = connections()
	config.AfterConnect = refuseForeign
	server := &reach{}
	config.BeforeConnect, config.ConnConfig.Tracer = server.beforeConnect, server
	tune(config.ConnConfig, name)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach database: %w", err)
	}
	return &Store{pool: pool, codec: codec, process: uuid.NewString(), feed: newWake(), appended: newWake(), owed: newWakes(),
		claiming: make(chan struct{}, claimsAtOnce)}, nil
}

// tune sets what every session of ours needs. Our statements join small arrays
// with large tables by index; the planner, which knows neither the arrays' sizes
// nor how full the tables will be, is told so once instead of replanning each time.
func tune(config *pgx.ConnConfig, name string) {
	set := config.RuntimeParams
	set["application_name"] = name
	set["timezone"] = "UTC"
	set["plan_cache_mode"] = "force_generic_plan"
	set["enable_seqscan"] = "off"
	set["enable_hashjoin"] = "off"
	set["enable_mergejoin"] = "off"
	set["jit"] = "off"
	// A session that hangs in a transaction holds every consumer back.
	set["idle_in_transaction_session_timeout"] = "60s"
}

// Close closes the connections.
func (s *Store) Close() { s.pool.Close() }

// Pool is the store's connections, for reading beside it.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Session opens a connection of its own, for long reading or for a lock.
func (s *Store) Session(ctx context.Context, purpose string) (*pgx.Conn, error) {
	config := s.pool.Config().ConnConfig
	config.RuntimeParams["application_name"] += " " + purpose
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", purpose, err)
	}
	return conn, nil
}

// Load implements commands.Store.
func (s *Store) Load(ctx context.Context, cursors []commands.Cursor) ([]commands.History, error) {
	histories := make([]commands.History, len(cursors))
	streams, after := make([]string, len(cursors)), make([]int64, len(cursors))
	for i, c := range cursors {
		streams[i], after[i], histories[i].Version = string(c.Stream), int64(c.After), c.After
	}
	// One walk down the primary key per stream.
	rows, err := s.pool.Query(ctx, `
		select c.ord - 1, e.version, e.name, e.event_version, e.payload
		from unnest($1::text[], $2::bigint[]) with ordinality as c(stream_id, after, ord)
		join eventstore.events e on e.stream_id = c.stream_id and e.version > c.after
		order by c.ord, e.version`, streams, after)
	if err != nil {
		return nil, fmt.Errorf("load %d streams: %w", len(cursors), err)
	}
	var ord, eventVersion int
	var version int64
	var name string
	var payload []byte
	_, err = pgx.ForEachRow(rows, []any{&ord, &version, &name, &eventVersion, &payload}, func() error {
		h := &histories[ord]
		if h.Err != nil {
			return nil
		}
		if domain.Version(version) != h.Version+1 {
			h.Err = fmt.Errorf("version %d follows %d: the stream has a gap", version, h.Version)
			return nil
		}
		event, err := s.decode(name, eventVersion, payload)
		if err != nil {
			h.Err = fmt.Errorf("version %d: %w", version, err)
			return nil
		}
		h.Events, h.Version = append(h.Events, event), domain.Version(version)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return histories, nil
}

// Holds implements commands.Store. It reads one chat's events; it is asked only
// about messages older than the chat's state remembers.
func (s *Store) Holds(ctx context.Context, stream domain.StreamID, key uint64) (held bool, err error) {
	err = s.pool.QueryRow(ctx, `
		select exists (select from eventstore.events
		               where stream_id = $1 and raw is not null
		                 and (payload ->> 'key' = $2
		                      or payload ? '$base64' -- sealed: see seal.go
		                         and strpos(convert_from(decode(payload ->> '$base64', 'base64'), 'UTF8'), '"key":"' || $2 || '"') > 0))`,
		string(stream), fmt.Sprint(key)).Scan(&held)
	if err != nil {
		return false, fmt.Errorf("look for an update in %s: %w", stream, err)
	}
	return held, nil
}

func (s *Store) decode(name string, version int, payload []byte) (domain.Event, error) {
	plain, err := unseal(payload)
	if err != nil {
		return nil, fmt.Errorf("event %s@%d: %w", name, version, err)
	}
	return s.codec.Decode(name, version, plain)
}
