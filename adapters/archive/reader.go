package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/chatledger/chatledger/domain"
)

// Archive is an archive in a directory, opened for reading.
type Archive struct {
	Manifest Manifest
	dir      string
}

// Open opens the archive in a directory.
func Open(dir string) (*Archive, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("no " + manifestName + ": the directory is not an archive")
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", dir, err)
	}
	return &Archive{m, dir}, nil
}

// Verify compares every part with its size and digest in the manifest. It calls checked with
// the number of events of each correct part.
func (a *Archive) Verify(ctx context.Context, checked func(events int64)) error {
	for _, part := range a.Manifest.Parts {
		if err := a.verify(ctx, part); err != nil {
			return fmt.Errorf("archive %s: %s: %w", a.dir, part.File, err)
		}
		checked(part.Events)
	}
	return nil
}

func (a *Archive) verify(ctx context.Context, part Part) error {
	file, err := os.OpenInRoot(a.dir, part.File) // follows no link out of the directory
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the part is missing")
	}
	if err != nil {
		return err
	}
	defer file.Close()
	digest := sha256.New()
	size, err := io.Copy(digest, until{ctx, file})
	switch {
	case err != nil:
		return err
	case size != part.Bytes:
		return fmt.Errorf("it has %d bytes and the manifest says %d: the part is cut off or was replaced",
			size, part.Bytes)
	case hex.EncodeToString(digest.Sum(nil)) != part.SHA256:
		return errors.New("its SHA-256 is not the manifest's: the part is damaged or was replaced")
	}
	return nil
}

// until is a reader that fails once its context has ended.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// Reader reads events. It fails if they are not in the order of the feed.
type Reader struct {
	archive *Archive // nil when a stream is read
	part    int      // index of the current part in the manifest
	file    *os.File // of the current part; nil before the first and between two
	decoder decoder
	at      Where
	last    domain.Position
	events  int64
	streams int64
}

// ReadStream reads a stream of events. It cannot detect that the end of the stream is missing.
func ReadStream(f Format, stream io.Reader) (*Reader, error) {
	if f == Parquet {
		return nil, errNoStream
	}
	d, err := newDecoder(f, stream)
	if err != nil {
		return nil, err
	}
	return &Reader{at: Where{"the stream", "line", 0}, decoder: d}, nil
}

// Reader returns a Reader of the archive, from its first event on.
func (a *Archive) Reader() *Reader { return &Reader{archive: a} }

// Close closes the current part.
func (r *Reader) Close() {
	if r.file != nil {
		_ = r.file.Close() // it was only read
		r.file, r.decoder = nil, nil
	}
}

// Where returns the place of the event that was read last.
func (r *Reader) Where() Where { return r.at }

// Where is a place in an archive or a stream, for messages.
type Where struct {
	source string
	unit   string // line or row
	n      int64  // from 1
}

func (w Where) String() string { return fmt.Sprintf("%s %s %d", w.source, w.unit, w.n) }

// Read returns the next event. It returns io.EOF after the last event; for an archive, only if
// there were as many events as the manifest says. Any other error names the place.
func (r *Reader) Read() (domain.Stored, error) {
	for {
		if r.decoder == nil {
			if r.part == len(r.archive.Manifest.Parts) {
				return domain.Stored{}, r.end()
			}
			if err := r.open(r.archive.Manifest.Parts[r.part]); err != nil {
				return domain.Stored{}, fmt.Errorf("%s: %w", r.at.source, err)
			}
		}
		s, err := r.decoder.decode()
		switch {
		case err == nil:
			r.at.n++
			return s, r.check(s)
		case err != io.EOF:
			r.at.n++
			return s, fmt.Errorf("%v: %w", r.at, err)
		case r.archive == nil:
			return s, io.EOF
		}
		if want := r.archive.Manifest.Parts[r.part].Events; r.at.n != want {
			return s, fmt.Errorf("%s has %d events and the manifest says %d", r.at.source, r.at.n, want)
		}
		r.Close()
		r.part++
	}
}

func (r *Reader) open(part Part) (err error) {
	format, unit := r.archive.Manifest.Format, "line"
	if format == Parquet {
		unit = "row"
	}
	r.at = Where{part.File, unit, 0}
	if r.file, err = os.OpenInRoot(r.archive.dir, part.File); err != nil {
		return err
	}
	r.decoder, err = newDecoder(format, r.file)
	return err
}

func (r *Reader) check(s domain.Stored) error {
	if !r.last.Before(s.Position) {
		return fmt.Errorf("%v: %s version %d at position %v follows position %v: "+
			"the events are not in the order of the feed",
			r.at, s.Stream, s.Version, s.Position, r.last)
	}
	r.last = s.Position
	if r.events++; s.Version == 1 {
		r.streams++
	}
	return nil
}

// end compares the numbers of events and streams with those in the manifest.
func (r *Reader) end() error {
	if m := r.archive.Manifest; r.events != m.Events || r.streams != m.Streams {
		return fmt.Errorf("the parts have %d events of %d streams and the manifest says %d of %d", r.events, r.streams,
			m.Events, m.Streams)
	}
	return io.EOF
}
