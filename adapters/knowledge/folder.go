package knowledge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Limits of a folder. They are far above what a team writes by hand, and prevent that a wrong
// folder, such as a home directory, is read as a whole.
const (
	maxEntries  = 10_000 // files and folders of all kinds
	maxFiles    = 2000
	maxFile     = 4 << 20  // bytes
	maxFolder   = 32 << 20 // bytes of all files together
	maxExamples = 100_000  // of all intents; training takes some 2 s for 1,000
	maxExample  = 1000     // characters: longer messages do not improve a model
	maxSteps    = 64       // of a workflow; the engine stores as many for going back
	maxChoices  = 20       // buttons of a step, one below the other
	maxValue    = 40       // bytes: callback data has 64, and also names the question
	maxName     = 40       // characters of the name of an intent, a step, a field or a reason
	maxText     = 4096     // UTF-16 units, Telegram's limit of a message
	maxLabel    = 64       // UTF-16 units; phones cut longer ones off
	maxMistakes = 200      // reported at once; more have one cause
)

// hashLength is the length of a folder's hash, in hexadecimal digits: enough to distinguish
// all versions that a team will ever write.
const hashLength = 16

// folder is the content of a folder at one moment.
type folder struct {
	files map[string][]byte
	hash  string
}

// open reads the YAML and text files of a folder. It ignores other files, such as notes, and
// hidden ones, such as an editor's.
func open(from fs.FS) (folder, error) {
	f := folder{files: map[string][]byte{}}
	size, entries := 0, 0
	err := fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		entries++
		switch {
		case err != nil:
			return err
		case entries > maxEntries:
			return Mistake{
				File: name, Says: fmt.Sprintf("there are more than %d files; is this the right folder?", maxEntries),
			}
		case entry.IsDir() && strings.Contains(name, "/"): // no file is nested this deep
			return fs.SkipDir
		case name != "." && strings.HasPrefix(path.Base(name), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !ours(name) || !regular(from, name):
			return nil
		case len(f.files) == maxFiles:
			return Mistake{
				File: name, Says: fmt.Sprintf("there are more than %d files; is this the right folder?", maxFiles),
			}
		}
		text, err := readBounded(from, name)
		if err != nil && entry.Type()&fs.ModeSymlink != 0 &&
			!errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(Mistake)) {
			const outside = "it is a link that leads out of the folder, or cannot be read: copy the file here"
			return Mistake{File: name, Says: outside}
		}
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

// regular reports whether a name is a regular file or a link to one: reading a pipe would
// block.
func regular(from fs.FS, name string) bool {
	info, err := fs.Stat(from, name)
	return err != nil || info.Mode().IsRegular() // reading reports the error
}

// readBounded reads a file up to the limit of its size.
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

// hash returns the hash of names and contents. Each is preceded by its length, so that two
// different folders cannot result in the same bytes.
func hash(files map[string][]byte) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%d %s %d ", len(name), name, len(files[name]))
		sum.Write(files[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:hashLength]
}
