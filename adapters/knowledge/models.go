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
	// modelsKept is the number of models in a folder, the last used ones: enough for a few
	// bots with a few versions of each. Large models have 10 MB.
	modelsKept = 16
	// unfinishedFor is the age from which an unfinished file counts as abandoned.
	unfinishedFor = time.Hour
	// largestModel limits a file, in bytes, far above any model.
	largestModel = 256 << 20

	modelSuffix      = ".model"
	unfinishedPrefix = "unfinished-"
)

// Models stores trained models in a folder, so that a restarted program need not train them
// again. Several processes may share a folder. It may be removed at any time.
type Models struct {
	Dir string // created when it is missing; "" stores nothing
}

// Train returns the model of the examples, from the folder if the same program has stored it
// there. If the model cannot be stored, it is returned with an error.
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
		return m, false, fmt.Errorf("store the model in %s: %w", s.Dir, err)
	}
	return m, false, nil
}

// contentOf returns the name of a model: a hash of everything it is made of.
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

// read returns the model in a file and marks it as used; nil when the file is missing or
// damaged.
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
	// A read-only folder still serves models.
	_ = os.Chtimes(file, time.Time{}, time.Now())
	return &m
}

// keep writes a model and removes the least recently used ones.
func (s Models) keep(file string, m *intents.Model) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := WriteModel(file, m); err != nil {
		return err
	}
	return s.tidy()
}

// WriteModel writes a model to a file atomically.
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

// tidy limits the number of models in the folder. Another process may remove files meanwhile.
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
