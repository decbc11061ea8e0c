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

// File is what a bots file holds.
type File struct {
	Bots   map[string]Bot `yaml:"bots"`
	Server Server         `yaml:"server"`

	text *reading // by which a mistake that shows later has its line
}

// Same tells whether two files say the same, wherever in them they say it.
func (f File) Same(other File) bool {
	return reflect.DeepEqual(f.Bots, other.Bots) && reflect.DeepEqual(f.Server, other.Server)
}

// Mistake is an error in what the file refers to, told like one in the file.
func (f File) Mistake(prefix string, err error, fields ...string) error {
	r := reading{path: f.text.path, root: f.text.root}
	r.tell(prefix, err, fields...)
	return r.wrong
}

// Mistake is something in a file that cannot be used as it stands.
type Mistake struct {
	file string
	line int // 0 when it is about the whole file
	says string
}

func (m Mistake) Error() string {
	if m.line == 0 {
		return m.file + ": " + m.says
	}
	return fmt.Sprintf("%s:%d: %s", m.file, m.line, m.says)
}

// Mistakes are told all at once, by line: a file is mended in one go.
type Mistakes []Mistake

func (list Mistakes) Error() string {
	all := make([]error, len(list))
	for i, m := range list {
		all[i] = m
	}
	return "bots file: " + errors.Join(all...).Error()
}

// inField is a mistake in a field of what is checked, such as rate and in it bot.
type inField struct {
	error
	fields []string
}

func (e inField) Unwrap() error { return e.error }

// In says in which field a mistake is.
func In(err error, fields ...string) error {
	if err == nil {
		return nil
	}
	return inField{err, fields}
}

// ReadBots reads a bots file and tells every mistake in it.
func ReadBots(path string) (map[string]Bot, error) {
	file, err := Read(path)
	return file.Bots, err
}

// Read is readBots with the server's part.
func Read(path string) (File, error) {
	return readFile(path, (*Bot).check)
}

// ReadSettings is readBots without tokens and secrets, which it does not follow.
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
		r.tell("", errors.New("it names no bots: begin with `bots:` and one name below it"), "bots")
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

// MaxFile bounds the bots file and each secret: ten thousand bots are less.
const MaxFile = 4 << 20

// readSmall reads a file that a person wrote, or says what to do about it.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Advise(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s has more than %d MiB: is it another file?", path, MaxFile>>20)
	}
	return text, Advise(err)
}

// Advise adds what to do about a file that cannot be read.
func Advise(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: put it there, or name another", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: let the user that runs this read it", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: name a file in it", err)
	}
	return err
}

// reading is a bots file under reading.
type reading struct {
	path  string
	root  *yaml.Node // nil when it is empty
	wrong Mistakes

	unread map[int]bool // lines with something that could not be read
}

// tell notes the mistakes that an error joins, each with its line.
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
		return // what follows from a mistake is none of its own
	}
	r.wrong = append(r.wrong, Mistake{r.path, line, prefix + telemetry.OneLine(telemetry.Wording(err))})
}

// line is where a field stands, or the innermost of those that it is in.
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

// reject notes the mistakes of the YAML.
func (r *reading) reject(mistakes []yamlfile.Mistake) {
	for _, m := range mistakes {
		r.unread[m.Line] = m.Line != 0
		r.wrong = append(r.wrong, Mistake{r.path, m.Line, m.Says + " (docs/bots.md has every key)"})
	}
}

// stampOf changes when a file does, without its being read. Where links lead is part of it:
// who exchanges a folder behind one may keep the times of the files in it.
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
