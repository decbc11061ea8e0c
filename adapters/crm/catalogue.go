// Package crm asks another system about customers, their orders, invoices, charges and
// addresses; it changes billing addresses, refunds duplicate charges, and reports problems
// with deliveries there. A Client speaks the contract of docs/crm-openapi.yaml to any CRM that
// serves it; a Catalogue is a list of orders read from a file, for a bot without a CRM. Both
// are Orders. Tools sends the deliveries that use them.
package crm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chatledger/chatledger/adapters/yamlfile"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Orders finds an order by its number; false when there is none, or when the asker may not
// see it.
type Orders interface {
	Order(ctx context.Context, number string, by Asker) (dialog.Order, bool, error)
}

// Asker identifies the customer who asks for an order.
type Asker struct {
	User     int64  `json:"telegram_user,omitempty"` // Telegram's id; 0 when it is unknown
	Chat     int64  `json:"telegram_chat"`           // where the answer is sent; in a group all members read it
	Customer string `json:"customer,omitempty"`      // the CRM's id of the user, if known
}

// Catalogue is a fixed list of orders by number.
type Catalogue map[string]dialog.Order

// Demo is the catalogue of the demo shop.
var Demo = Catalogue{
	"1001": {
		Number: "1001",
		Status: "shipped",
		Detail: "It left our warehouse yesterday and should arrive tomorrow.",
		Coded:  dialog.Coded{Code: "arrives_tomorrow"},
	},
	"1002": {
		Number: "1002",
		Status: "delivered",
		Detail: "It was left with a neighbour.",
		Coded:  dialog.Coded{Code: "with_neighbour"},
	},
	"1003": {
		Number: "1003",
		Status: "processing",
		Detail: "It will be shipped within 2 days.",
		Coded:  dialog.Coded{Code: "ships_within", Values: map[string]string{"days": "2"}},
	},
	"1004": {
		Number: "1004",
		Status: "cancelled",
		Detail: "The refund is on its way.",
		Coded:  dialog.Coded{Code: "refund_under_way"},
	},
}

// ReadCatalogue reads a YAML file of orders: a list of number, status, detail, and of the code
// and the values that a bot's codes.yaml has words for.
func ReadCatalogue(path string) (Catalogue, error) {
	text, err := readBeside(path)
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	var list []struct {
		Number, Status, Detail, Code string
		Values                       map[string]string
	}
	if _, mistakes := yamlfile.Decode(text, &list); len(mistakes) > 0 {
		return nil, fmt.Errorf("orders: %s:%d: %s", path, mistakes[0].Line, mistakes[0].Says)
	}
	c := Catalogue{}
	for i, o := range list {
		if o.Number == "" || o.Status == "" {
			return nil, fmt.Errorf("orders: %s: entry %d needs a number and a status", path, i+1)
		}
		c[strings.ToUpper(o.Number)] = dialog.Order{
			Number: o.Number,
			Status: o.Status,
			Detail: o.Detail,
			Coded:  dialog.Coded{Code: o.Code, Values: o.Values},
		}
	}
	return c, nil
}

// maxCatalogue, in bytes, is some 50,000 orders. A shop with more needs a CRM.
const maxCatalogue = 8 << 20

// readBeside reads a file. It follows no link that leads out of the file's folder: error messages quote
// the file, and a file elsewhere may be secret.
func readBeside(path string) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(filepath.Base(path))
	if err != nil {
		if info, wrong := root.Lstat(filepath.Base(path)); wrong == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%s is a link that leads out of its folder, or to nothing: name the file itself", path)
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: cmp.Or(errors.Unwrap(err), err)}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxCatalogue+1))
	if err == nil && len(text) > maxCatalogue {
		err = fmt.Errorf("%s has more than %d MiB: configure a CRM for the bot", path, maxCatalogue>>20)
	}
	return text, err
}

// Order implements Orders. A catalogue does not know the owners of orders: every asker may see
// every order.
func (c Catalogue) Order(_ context.Context, number string, _ Asker) (dialog.Order, bool, error) {
	order, found := c[strings.ToUpper(number)]
	return order, found, nil
}
