// Package archive keeps events outside a database, as they are stored and undecoded:
// in a directory of part files with a manifest, or as one stream. What is written
// can be read again and is equal, field by field, whatever the format.
package archive

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/chatledger/chatledger/domain"
)

// Format is how events are written; docs/archive.md describes the fields of each.
type Format string

// Formats of an archive. Parquet cannot be a stream.
const (
	NDJSON      Format = "ndjson"
	CloudEvents Format = "cloudevents"
	Parquet     Format = "parquet"
)

// Writer writes events one after the other. Close ends what is written, and leaves
// what it is written to open.
type Writer interface {
	Write(domain.Stored) error
	Close() error
}

// decoder reads events one after the other; io.EOF stands behind the last.
type decoder interface {
	decode() (domain.Stored, error)
}

// NewStream writes a stream in a format; an empty one means NDJSON.
func NewStream(f Format, w io.Writer) (Writer, error) {
	if f == Parquet {
		return nil, errNoStream
	}
	return newWriter(cmp.Or(f, NDJSON), w)
}

var errNoStream = fmt.Errorf("%s is no stream: its index stands at the end of a file", Parquet)

func newWriter(f Format, w io.Writer) (Writer, error) {
	switch f {
	case NDJSON:
		return newNDJSONWriter(w), nil
	case CloudEvents:
		return cloudEventsWriter{w}, nil
	case Parquet:
		return newParquetWriter(w), nil
	default:
		return nil, f.check()
	}
}

func newDecoder(f Format, r io.Reader) (decoder, error) {
	switch f {
	case NDJSON:
		return newLines(r, parseNDJSON), nil
	case CloudEvents:
		return newLines(r, parseCloudEvent), nil
	case Parquet:
		return openParquet(r.(*os.File))
	default:
		return nil, f.check()
	}
}

func (f Format) check() error {
	switch f {
	case NDJSON, CloudEvents, Parquet:
		return nil
	default:
		return fmt.Errorf("unknown format %q: there are %s, %s and %s", f, NDJSON, CloudEvents, Parquet)
	}
}
