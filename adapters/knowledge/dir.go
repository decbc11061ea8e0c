package knowledge

import (
	"io/fs"
	"os"
)

// Dir returns the files of a folder. Unlike os.DirFS it follows no link that leads out of the folder:
// what stands there would be quoted in mistakes. It opens the folder anew for each file, since a team
// may replace the folder while the program runs.
func Dir(path string) fs.FS { return dir(path) }

type dir string

// Open implements fs.FS.
func (d dir) Open(name string) (fs.File, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.FS().Open(name)
}

// Stat implements fs.StatFS: opening a pipe would block.
func (d dir) Stat(name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return fs.Stat(root.FS(), name)
}

// ReadDir implements fs.ReadDirFS.
func (d dir) ReadDir(name string) ([]fs.DirEntry, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return fs.ReadDir(root.FS(), name)
}
