package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"github.com/chatledger/chatledger/domain"
)

const (
	// A row group is held in memory while it is written. It ends at the first of these limits.
	rowGroupRows  = 20_000
	rowGroupBytes = 16 << 20
	// rowsAtOnce is the number of rows that are passed to the encoder, or read from the decoder, at once.
	rowsAtOnce = 256
)

// row declares the columns, which are named like those of the table. rowOf builds the rows
// column by column, in this order, because the library's encoder fails on a JSON column that
// may be null.
type row struct {
	TransactionID uint64   `parquet:"transaction_id"`
	Position      int64    `parquet:"position,delta"`
	StreamID      string   `parquet:"stream_id,dict"`
	Version       int64    `parquet:"version"`
	EventID       [16]byte `parquet:"event_id,uuid"`
	Name          string   `parquet:"name,dict"`
	EventVersion  int32    `parquet:"event_version"`
	Payload       string   `parquet:"payload,json"`
	Raw           string   `parquet:"raw,json,optional"`
	CausationID   [16]byte `parquet:"causation_id,uuid,optional"`
	CorrelationID [16]byte `parquet:"correlation_id,uuid"`
	Actor         string   `parquet:"actor,dict"`
	OccurredAt    int64    `parquet:"occurred_at,timestamp(microsecond)"`
	RecordedAt    int64    `parquet:"recorded_at,timestamp(microsecond)"`
}

var schema = parquet.SchemaOf(row{})

// rowOf returns the row of an event. A value of an optional column has definition level 1, a null
// has level 0.
func rowOf(into parquet.Row, s domain.Stored) parquet.Row {
	add := func(v parquet.Value) { into = append(into, v.Level(0, 0, len(into))) }
	optional := func(present bool, v parquet.Value) {
		if present {
			into = append(into, v.Level(0, 1, len(into)))
			return
		}
		add(parquet.NullValue())
	}
	text := func(s string) parquet.Value { return parquet.ByteArrayValue([]byte(s)) }
	add(parquet.Int64Value(int64(s.Position.Transaction)))
	add(parquet.Int64Value(s.Position.Number))
	add(text(string(s.Stream)))
	add(parquet.Int64Value(int64(s.Version)))
	add(parquet.FixedLenByteArrayValue(s.ID[:]))
	add(text(s.Name))
	add(parquet.Int32Value(int32(s.EventVersion)))
	add(parquet.ByteArrayValue(s.Payload))
	optional(s.Raw != nil, parquet.ByteArrayValue(s.Raw))
	optional(s.Causation != uuid.Nil, parquet.FixedLenByteArrayValue(s.Causation[:]))
	add(parquet.FixedLenByteArrayValue(s.Correlation[:]))
	add(text(string(s.Actor)))
	add(parquet.Int64Value(s.OccurredAt.UnixMicro()))
	add(parquet.Int64Value(s.RecordedAt.UnixMicro()))
	return into
}

// whole is a row in which nothing is null.
var whole = rowOf(nil, domain.Stored{Raw: []byte{}, Causation: uuid.Max})

// storedOf is the inverse of rowOf. It copies the row's bytes, because the decoder reuses them.
func storedOf(r parquet.Row) (s domain.Stored, err error) {
	if len(r) != len(whole) {
		return s, errors.New("the row has not all columns")
	}
	for i, v := range r {
		if v.Kind() != whole[i].Kind() && !(v.IsNull() && whole[i].DefinitionLevel() == 1) {
			return s, fmt.Errorf("column %s: its value is of another type", schema.Columns()[i][0])
		}
	}
	text := func(i int) string { return string(r[i].ByteArray()) }
	at := func(i int) time.Time { return time.UnixMicro(r[i].Int64()).UTC() }
	s.Position = domain.Position{Transaction: r[0].Uint64(), Number: r[1].Int64()}
	s.Stream, s.Version = domain.StreamID(text(2)), domain.Version(r[3].Int64())
	s.ID, s.Name, s.EventVersion = uuid.UUID(r[4].ByteArray()), text(5), int(r[6].Int32())
	s.Payload = slices.Clone(r[7].ByteArray())
	if !r[8].IsNull() {
		s.Raw = slices.Clone(r[8].ByteArray())
	}
	if !r[9].IsNull() {
		s.Causation = uuid.UUID(r[9].ByteArray())
	}
	s.Correlation, s.Actor = uuid.UUID(r[10].ByteArray()), domain.Actor(text(11))
	s.OccurredAt, s.RecordedAt = at(12), at(13)
	return s, nil
}

type parquetWriter struct {
	writer  *parquet.GenericWriter[row]
	waiting []parquet.Row
	rows    int // of the row group
	bytes   int
}

func newParquetWriter(w io.Writer) *parquetWriter {
	return &parquetWriter{writer: parquet.NewGenericWriter[row](w, schema, parquet.Compression(&parquet.Zstd),
		parquet.SkipPageBounds("payload"), parquet.SkipPageBounds("raw"))} // no query compares JSON by order
}

func (w *parquetWriter) Write(s domain.Stored) error {
	w.waiting = append(w.waiting, rowOf(make(parquet.Row, 0, len(whole)), s))
	w.rows, w.bytes = w.rows+1, w.bytes+len(s.Payload)+len(s.Raw)
	if w.rows >= rowGroupRows || w.bytes >= rowGroupBytes {
		w.rows, w.bytes = 0, 0
		return errors.Join(w.pass(), w.writer.Flush())
	}
	if len(w.waiting) < rowsAtOnce {
		return nil
	}
	return w.pass()
}

func (w *parquetWriter) pass() error {
	_, err := w.writer.WriteRows(w.waiting)
	w.waiting = w.waiting[:0]
	return err
}

func (w *parquetWriter) Close() error { return errors.Join(w.pass(), w.writer.Close()) }

// parquetReader reads rows from the decoder in batches.
type parquetReader struct {
	reader *parquet.GenericReader[row]
	rows   []parquet.Row
	left   []parquet.Row // of rows
}

// damaged turns a panic into an error: the decoder panics on some damaged files.
func damaged(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the file is damaged: %v", r)
	}
}

func openParquet(file *os.File) (_ *parquetReader, err error) {
	defer damaged(&err)
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(file, info.Size(), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	if !parquet.EqualNodes(schema, f.Schema()) {
		return nil, fmt.Errorf("its columns are not those of an archive but %s", f.Schema())
	}
	return &parquetReader{reader: parquet.NewGenericReader[row](f), rows: make([]parquet.Row, rowsAtOnce)}, nil
}

func (r *parquetReader) decode() (s domain.Stored, err error) {
	defer damaged(&err)
	if len(r.left) == 0 {
		n, err := r.reader.ReadRows(r.rows)
		if r.left = r.rows[:n]; n == 0 {
			return s, cmp.Or(err, io.ErrNoProgress)
		}
	}
	row := r.left[0]
	r.left = r.left[1:]
	return storedOf(row)
}
