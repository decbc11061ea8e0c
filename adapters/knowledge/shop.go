package knowledge

import (
	"embed"
	"io/fs"
)

//go:embed shop
var embedded embed.FS

// Shop is the folder of a shop in English and German, complete: what the demo bot knows,
// a bot without a folder of its own, and whoever copies it to begin one.
var Shop = func() fs.FS {
	folder, err := fs.Sub(embedded, "shop")
	if err != nil {
		panic(err)
	}
	return folder
}()
