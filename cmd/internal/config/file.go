package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/adapters/yamlfile"
)

// File is the content of a bots file.
type File struct {
	Bots   map[string]Bot `yaml:"bots"`
	Server Server         `yaml:"server"`

	text *reading // finds the line of a mistake that is found later
}

// Same reports whether two files have the same settings, in any order.
func (f File) Same(other File) bool {
	return reflect.DeepEqual(f.Bots, other.Bots) && reflect.DeepEqual(f.Server, other.Server)
}

// Mistake returns an error about something that the file refers to, with the line of the reference.
func (f File) Mistake(prefix string, err error, fields ...string) error {
	r := reading{path: f.text.path, root: f.text.root}
	r.tell(prefix, err, fields...)
	return r.wrong
}

// Mistake is one error in a bots file.
type Mistake struct {
	file string
	line int // 0 means the whole file
	says string
}

func (m Mistake) Error() string {
	if m.line == 0 {
		return m.file + ": " + m.says
	}
	return fmt.Sprintf("%s:%d: %s", m.file, m.line, m.says)
}

// Mistakes are all errors of a file, by line, so that the file can be corrected in one go.
type Mistakes []Mistake

func (list Mistakes) Error() string {
	all := make([]error, len(list))
	for i, m := range list {
		all[i] = m
	}
	return "bots file: " + errors.Join(all...).Error()
}

// inField is an error in a field; fields is its path, such as rate, bot.
type inField struct {
	error
	fields []string
}

func (e inField) Unwrap() error { return e.error }

// In adds to an error the field that it is about.
func In(err error, fields ...string) error {
	if err == nil {
		return nil
	}
	return inField{err, fields}
}

// ReadBots reads the bots of a bots file. Its error has every mistake in the file.
func ReadBots(path string) (map[string]Bot, error) {
	file, err := Read(path)
	return file.Bots, err
}

// Read reads a bots file. Its error has every mistake in the file.
func Read(path string) (File, error) {
	return readFile(path, (*Bot).check)
}

// ReadSettings is ReadBots without tokens and secrets: it does not follow references.
func ReadSettings(path string) (map[string]Bot, error) {
	file, err := readFile(path, func(b *Bot, _ string) error { return b.checkSettings() })
	return file.Bots, err
}

func readFile(path string, check func(b *Bot, name string) error) (File, error) {
	var file File
	text, err := readSmall(path)
	if err != nil {
		return file, fmt.Errorf("bots file: %w", err)
	}
	r := reading{path: path, unread: map[int]bool{}}
	var mistakes []yamlfile.Mistake
	r.root, mistakes = yamlfile.DecodeKnown(text, &file)
	r.reject(mistakes)
	if r.root == nil && len(mistakes) > 0 {
		return File{}, r.wrong
	}
	if len(file.Bots) == 0 && len(r.wrong) == 0 {
		r.tell("", errors.New("no bots: begin with `bots:` and a name below it"), "bots")
	}
	for _, name := range slices.Sorted(maps.Keys(file.Bots)) {
		b := file.Bots[name]
		r.tell("bot "+name+": ", check(&b, name), "bots", name)
		file.Bots[name] = b
	}
	r.tell("server: ", file.Server.check(), "server")
	if len(r.wrong) > 0 {
		slices.SortStableFunc(r.wrong, func(a, b Mistake) int { return cmp.Compare(a.line, b.line) })
		return File{}, r.wrong
	}
	file.text = &r
	return file, nil
}

// MaxFile limits the bots file and each secret, in bytes: ten thousand bots need less.
const MaxFile = 4 << 20

// readSmall reads a file of at most MaxFile. Its error says what to do.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Advise(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s has more than %d MiB: check that it is the right file", path, MaxFile>>20)
	}
	return text, Advise(err)
}

// Advise adds to an error of reading a file what to do.
func Advise(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: put the file there, or name another one", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: let the user that runs chatledger read it", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: name a file in it", err)
	}
	return err
}

// reading is a bots file while it is read.
type reading struct {
	path  string
	root  *yaml.Node // nil when the file is empty
	wrong Mistakes

	unread map[int]bool // lines with a YAML error
}

// tell adds the mistakes that an error joins, each with its line.
func (r *reading) tell(prefix string, err error, fields ...string) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			r.tell(prefix, one, fields...)
		}
		return
	}
	if e, ok := err.(inField); ok {
		r.tell(prefix, e.error, append(slices.Clone(fields), e.fields...)...)
		return
	}
	line := r.line(fields)
	if r.unread[line] {
		return // it follows from the YAML error
	}
	r.wrong = append(r.wrong, Mistake{r.path, line, prefix + telemetry.OneLine(telemetry.Wording(err))})
}

// line returns the line of a field, or of the innermost field around it that exists.
func (r *reading) line(fields []string) (line int) {
	at := r.root
	for _, field := range fields {
		if at == nil || at.Kind != yaml.MappingNode {
			return line
		}
		found := false
		for i := 0; i < len(at.Content) && !found; i += 2 {
			if at.Content[i].Value == field {
				line, at, found = at.Content[i].Line, at.Content[i+1], true
			}
		}
		if !found {
			return line
		}
	}
	return line
}

// reject adds the mistakes of the YAML.
func (r *reading) reject(mistakes []yamlfile.Mistake) {
	for _, m := range mistakes {
		r.unread[m.Line] = m.Line != 0
		r.wrong = append(r.wrong, Mistake{r.path, m.Line, m.Says + " (docs/bots.md has every key)"})
	}
}

// stampOf returns a text that changes when a file changes; it does not read the file. The target of
// links is part of it: when a link is set to another folder, its files may have the same times.
func stampOf(path string) string {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	info, err := os.Stat(at)
	if err != nil {
		return ""
	}
	return fmt.Sprint(at, info.ModTime(), info.Size())
}
