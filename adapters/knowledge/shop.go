package knowledge

import (
	"embed"
	"io/fs"
)

//go:embed shop
var embedded embed.FS

// Shop is the complete folder of a shop in English and German. The demo bot and bots without a
// folder of their own use it; copy it to start a new folder.
var Shop = func() fs.FS {
	folder, err := fs.Sub(embedded, "shop")
	if err != nil {
		panic(err)
	}
	return folder
}()
