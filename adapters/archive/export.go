package archive

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/chatledger/chatledger/domain"
)

const (
	// PartEvents is the default number of events in a part: some 50 MB of NDJSON, so that
	// little has to be written again after an interruption.
	PartEvents = 50_000
	// unfinished is the suffix of a file that is being written.
	unfinished = ".unfinished"
	// fileBuffer is the number of bytes that are written to a file, or read from it, at once.
	fileBuffer = 256 << 10
)

// Export is an archive that is being written. Only complete parts count: after an
// interruption, an incomplete part is written again from its beginning.
type Export struct {
	Manifest Manifest // as it is on disk; the caller sets AnsweredTo before writing
	dir      string
	limit    int64 // number of events in a part
	part     *openPart
}

// Begin continues the archive in a directory, or begins one; it creates the directory when
// necessary. An empty format means that of the existing archive, or NDJSON. partEvents is the
// number of events in a part; 0 means PartEvents.
func Begin(dir string, format Format, partEvents int64) (*Export, error) {
	e := &Export{dir: dir, limit: cmp.Or(partEvents, PartEvents)}
	err := e.resume(format)
	if errors.Is(err, fs.ErrNotExist) {
		err = e.begin(cmp.Or(format, NDJSON))
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", dir, err)
	}
	return e, nil
}

func (e *Export) resume(format Format) (err error) {
	if e.Manifest, err = readManifest(e.dir); err != nil {
		return err
	}
	if has := e.Manifest.Format; format != "" && format != has {
		return fmt.Errorf("it is of format %s, not %s: go on in that, or begin in another directory", has, format)
	}
	return nil
}

func (e *Export) begin(format Format) error {
	if err := format.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(e.dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), unfinished) {
			return fmt.Errorf("the directory holds something else (%s): give an empty or a new one", file.Name())
		}
	}
	e.Manifest = Manifest{Layout: layout, Format: format, Parts: []Part{}}
	return e.Manifest.write(e.dir)
}

// Write writes the next event of the feed.
func (e *Export) Write(s domain.Stored) (err error) {
	if e.part == nil {
		if e.part, err = e.openPart(); err != nil {
			return fmt.Errorf("archive %s: %w", e.dir, err)
		}
	}
	if err := e.part.write(s); err != nil {
		return fmt.Errorf("archive %s: %s, %s version %d: %w", e.dir, e.part.name, s.Stream, s.Version, err)
	}
	if e.part.events < e.limit {
		return nil
	}
	return e.End(false)
}

// End finishes the current part, however short it is: first the file, then the manifest that
// names it. complete says whether the export has reached its intended end.
func (e *Export) End(complete bool) error {
	next := e.Manifest
	next.Complete = complete
	if e.part != nil {
		part, err := e.part.finish()
		if err != nil {
			return fmt.Errorf("archive %s: %w", e.dir, err)
		}
		next.Parts = append(next.Parts, part)
		next.Events += part.Events
		next.Streams += e.part.streams
		next.First, next.Last = cmp.Or(next.First, e.part.first), e.part.last
		e.part = nil
	}
	if err := next.write(e.dir); err != nil {
		return fmt.Errorf("archive %s: %w", e.dir, err)
	}
	e.Manifest = next
	return nil
}

// Close discards the incomplete part, if any; the archive stays as it is on disk.
func (e *Export) Close() {
	if e.part != nil {
		e.part.abandon()
		e.part = nil
	}
}

// openPart is a part that is being written, to a file whose name ends in unfinished.
type openPart struct {
	dir, name   string
	file        *os.File
	buffer      *bufio.Writer
	digest      hash.Hash
	writer      Writer
	events      int64
	streams     int64 // that begin in this part
	first, last *Place
}

func (e *Export) openPart() (*openPart, error) {
	p := &openPart{
		dir: e.dir, name: fmt.Sprintf("part-%06d.%s", len(e.Manifest.Parts)+1, e.Manifest.Format),
		digest: sha256.New(),
	}
	var err error
	if p.file, err = create(filepath.Join(e.dir, p.name)); err != nil {
		return nil, err
	}
	p.buffer = bufio.NewWriterSize(io.MultiWriter(p.file, p.digest), fileBuffer)
	if p.writer, err = newWriter(e.Manifest.Format, p.buffer); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

func (p *openPart) write(s domain.Stored) error {
	if err := p.writer.Write(s); err != nil {
		return err
	}
	p.last = &Place{Position{s.Position}, s.ID}
	p.first = cmp.Or(p.first, p.last)
	if p.events++; s.Version == 1 {
		p.streams++
	}
	return nil
}

func (p *openPart) finish() (Part, error) {
	if err := errors.Join(p.writer.Close(), p.buffer.Flush()); err != nil {
		return Part{}, err
	}
	size, err := p.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return Part{}, err
	}
	if err := settle(p.file, filepath.Join(p.dir, p.name)); err != nil {
		return Part{}, err
	}
	return Part{File: p.name, Events: p.events, Bytes: size, SHA256: hex.EncodeToString(p.digest.Sum(nil))}, nil
}

func (p *openPart) abandon() {
	_ = p.file.Close()
	_ = os.Remove(p.file.Name()) // the next run overwrites a file that could not be removed
}

// create creates a file that settle will give its final name. Only its owner may read it,
// because it contains messages of customers.
func create(name string) (*os.File, error) {
	return os.OpenFile(name+unfinished, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

// replace replaces a small file atomically.
func replace(name string, content []byte) error {
	file, err := create(name)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		return errors.Join(err, file.Close())
	}
	return settle(file, name)
}

// settle syncs a written file to disk, gives it its final name, and syncs the directory.
func settle(file *os.File, name string) error {
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
