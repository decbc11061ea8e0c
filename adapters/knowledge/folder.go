package knowledge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Limits of a folder. They are far above what a team writes by hand, and keep a folder
// that was mistaken for one, such as a home directory, from being read whole.
const (
	maxEntries  = 10_000 // of all kinds, to be looked through
	maxFiles    = 2000
	maxFile     = 4 << 20  // bytes
	maxFolder   = 32 << 20 // bytes of all files together
	maxExamples = 100_000  // of all intents; training takes some 2 s for 1,000
	maxExample  = 1000     // characters: longer ones teach nothing
	maxSteps    = 64       // of a workflow; the engine remembers as many on the way back
	maxChoices  = 20       // buttons of a step, which stand below each other
	maxValue    = 40       // bytes: callback data, which has 64, also tells which asking a button is of
	maxName     = 40       // characters of a name of an intent, a step, a field or a reason
	maxText     = 4096     // UTF-16 units, Telegram's limit of a message
	maxLabel    = 64       // UTF-16 units; longer ones are cut off on a telephone
	maxMistakes = 200      // told at once; more come from one cause
)

// hashLength is how much of the hash of a folder is kept, in hexadecimal digits: enough
// to tell any two that a team will ever write apart.
const hashLength = 16

// folder is all that stands in one, at one moment.
type folder struct {
	files map[string][]byte
	hash  string
}

// open reads the YAML and text files of a folder. Files of other kinds, such as notes,
// and hidden ones, such as an editor's, are none of its business.
func open(from fs.FS) (folder, error) {
	f := folder{files: map[string][]byte{}}
	size, entries := 0, 0
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		entries++
		switch {
		case err != nil:
			return err
		case entries > maxEntries:
			return Mistake{File: name, Says: fmt.Sprintf("there are more than %d files; is this the right folder?", maxEntries)}
		case entry.IsDir() && strings.Contains(name, "/"): // nothing is ever so deep
			return fs.SkipDir
		case name != "." && strings.HasPrefix(path.Base(name), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !ours(name) || !regular(from, name):
			return nil
		case len(f.files) == maxFiles:
			return Mistake{File: name, Says: fmt.Sprintf("there are more than %d files; is this the right folder?", maxFiles)}
		}
		text, err := readBounded(from, name)
		if err != nil {
			return err
		}
		if size += len(text); size > maxFolder {
			return Mistake{
				File: name,
				Says: fmt.Sprintf("with it there are more than %d MiB; is this the right folder?", maxFolder>>20),
			}
		}
		f.files[name] = text
		return nil
	})
	f.hash = hash(f.files)
	return f, err
}

func ours(name string) bool {
	extension := path.Ext(name)
	return extension == ".yaml" || extension == ".yml" || extension == ".txt"
}

// regular tells whether a name is of a file, or leads to one: to read a pipe would be to
// wait for whoever writes into it.
func regular(from fs.FS, name string) bool {
	info, err := fs.Stat(from, name)
	return err != nil || info.Mode().IsRegular() // reading says what is wrong
}

// readBounded reads a file that is not too long.
func readBounded(from fs.FS, name string) ([]byte, error) {
	file, err := from.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		return nil, Mistake{File: name, Says: fmt.Sprintf("it is longer than %d MiB", maxFile>>20)}
	}
	return text, err
}

// hash is of names and contents. Lengths stand before them, so that no two folders
// can run into the same bytes.
func hash(files map[string][]byte) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(files[name]))
		sum.Write(files[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:hashLength]
}
