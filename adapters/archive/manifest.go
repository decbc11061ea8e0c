package archive

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
)

const (
	manifestName = "manifest.json"
	// layout is the version of the manifest and of the fields in all formats.
	layout = 1
)

// Manifest describes the content of an archive. It is replaced as a whole, once the files
// that it names are synced to disk.
type Manifest struct {
	Layout     int       `json:"layout"`
	Format     Format    `json:"format"`
	Complete   bool      `json:"complete"` // the export reached its intended end
	Events     int64     `json:"events"`
	Streams    int64     `json:"streams"`
	First      *Place    `json:"first,omitempty"`
	Last       *Place    `json:"last,omitempty"`
	AnsweredTo *Position `json:"answered_to,omitempty"` // the bot has handled all events up to here
	Parts      []Part    `json:"parts"`
}

// Place is the place of an event in the feed from which it was exported.
type Place struct {
	Position Position  `json:"position"`
	EventID  uuid.UUID `json:"event_id"`
}

// Part is one file of events.
type Part struct {
	File   string `json:"file"`
	Events int64  `json:"events"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the file, in hexadecimal
}

// Position is a position as text: <transaction>/<number>.
type Position struct{ domain.Position }

// MarshalText implements encoding.TextMarshaler.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Position) UnmarshalText(text []byte) error {
	if _, err := fmt.Sscanf(string(text), "%d/%d", &p.Transaction, &p.Number); err != nil ||
		p.String() != string(text) {
		return fmt.Errorf("%q is not <transaction>/<number>", text)
	}
	return nil
}

func readManifest(dir string) (m Manifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Layout != layout {
		return m, fmt.Errorf("%s: its layout is %d and this program knows %d", manifestName, m.Layout, layout)
	}
	if err := m.Format.check(); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	for _, part := range m.Parts {
		if part.File != filepath.Base(part.File) {
			return m, fmt.Errorf("%s: part %q is not a file of the directory", manifestName, part.File)
		}
	}
	return m, nil
}

func (m Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, manifestName), append(text, '\n'))
}
