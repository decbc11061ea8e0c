package knowledge

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain/intents"
)

const (
	// modelsKept is how many models stay in a folder, those last used: a few bots, and a
	// few tries of each. Large ones are 10 MB.
	modelsKept = 16
	// unfinishedFor is after what time a file that is being written counts as left behind.
	unfinishedFor = time.Hour
	// largestModel is how many bytes of a file are read, far beyond any model.
	largestModel = 256 << 20

	modelSuffix      = ".model"
	unfinishedPrefix = "unfinished-"
)

// Models keeps trained models in a folder, so that a program that starts again need not
// train again. Several processes may use one folder. It may be removed at any time.
type Models struct {
	Dir string // made when it is missing; "" keeps nothing
}

// Train gives the model of the examples, from the folder if the same program has put it
// there. A model that could be trained but not kept comes with an error, and works.
func (s Models) Train(examples []intents.Example) (_ *intents.Model, cached bool, err error) {
	if s.Dir == "" {
		return intents.Train(examples), false, nil
	}
	file := filepath.Join(s.Dir, contentOf(examples)+modelSuffix)
	if m := read(file); m != nil {
		return m, true, nil
	}
	m := intents.Train(examples)
	if err := s.keep(file, m); err != nil {
		return m, false, fmt.Errorf("keep a model in %s: %w", s.Dir, err)
	}
	return m, false, nil
}

// contentOf names a model by all that it is made of.
func contentOf(examples []intents.Example) string {
	hash := sha256.New()
	write := func(text string) {
		hash.Write(binary.AppendUvarint(nil, uint64(len(text))))
		hash.Write([]byte(text))
	}
	write(intents.Trainer)
	for _, e := range examples {
		write(e.Intent)
		write(e.Text)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// read gives the model in a file, or nil when it is not there or damaged, and marks it
// as used.
func read(file string) *intents.Model {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > largestModel {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var m intents.Model
	if m.UnmarshalBinary(data) != nil {
		return nil
	}
	// A folder that cannot be written to still serves.
	_ = os.Chtimes(file, time.Time{}, time.Now())
	return &m
}

// keep writes a model and removes those that nobody has used for longest.
func (s Models) keep(file string, m *intents.Model) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := WriteModel(file, m); err != nil {
		return err
	}
	return s.tidy()
}

// WriteModel writes a model to a file, whole or not at all.
func WriteModel(file string, m *intents.Model) error {
	data, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(file), unfinishedPrefix+"*")
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

// tidy bounds the folder. What another process removes meanwhile is gone all the same.
func (s Models) tidy() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	var models, old []fs.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		switch {
		case err != nil || !info.Mode().IsRegular(): // removed meanwhile, or not ours
		case strings.HasSuffix(info.Name(), modelSuffix):
			models = append(models, info)
		case strings.HasPrefix(info.Name(), unfinishedPrefix) && time.Since(info.ModTime()) > unfinishedFor:
			old = append(old, info)
		}
	}
	slices.SortFunc(models, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range append(old, models[min(len(models), modelsKept):]...) {
		if err := os.Remove(filepath.Join(s.Dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
