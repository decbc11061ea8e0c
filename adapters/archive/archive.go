// Package archive writes stored events to files, undecoded, and reads them back: a directory
// of part files with a manifest, or one stream. In every format the events that are read
// equal those that were written, field by field.
package archive

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/chatledger/chatledger/domain"
)

// Format is a file format of events; docs/archive.md describes the fields of each.
type Format string

// The formats of an archive. Parquet cannot be a stream.
const (
	NDJSON      Format = "ndjson"
	CloudEvents Format = "cloudevents"
	Parquet     Format = "parquet"
)

// Writer writes events one after the other. Close finishes the output but does not close
// the underlying writer.
type Writer interface {
	Write(domain.Stored) error
	Close() error
}

// decoder reads events one after the other, and returns io.EOF after the last.
type decoder interface {
	decode() (domain.Stored, error)
}

// NewStream returns a Writer of a stream; an empty format means NDJSON.
func NewStream(f Format, w io.Writer) (Writer, error) {
	if f == Parquet {
		return nil, errNoStream
	}
	return newWriter(cmp.Or(f, NDJSON), w)
}

var errNoStream = fmt.Errorf("%s cannot be a stream, because its index is at the end of the file: "+
	"use ndjson or cloudevents", Parquet)

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
