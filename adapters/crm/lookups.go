package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

const (
	// window is how long a lookup waits for others of its kind, to share a request with them.
	window = 100 * time.Millisecond
	// maxBatch limits the lookups of one request, as the contract does.
	maxBatch = 50
	// maxKey is the contract's limit for a key, in characters.
	maxKey = 300
	// life is how long a result is cached, so at most how late another process sees an update.
	life = 30 * time.Second
	// cacheSize is the number of cached results: with some 500 bytes each, 5 MiB.
	cacheSize = 10_000
)

// Customer is a customer of the CRM.
type Customer struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Email          string `json:"email,omitempty"`           // empty when none is known
	Tier           string `json:"tier,omitempty"`            // service tier; empty: standard
	BillingAddress string `json:"billing_address,omitempty"` // empty when none is known
}

// Customer finds a customer by id; false when there is none.
func (c *Client) Customer(ctx context.Context, id string) (Customer, bool, error) {
	a, err := c.lookUp(ctx, item{Kind: kindCustomer, Key: id})
	if err != nil || a.Customer == nil {
		return Customer{}, false, err
	}
	return *a.Customer, true, nil
}

// Order implements Orders.
func (c *Client) Order(ctx context.Context, number string, by Asker) (dialog.Order, bool, error) {
	if checked("customer", by.Customer) != nil {
		by.Customer = "" // the contract does not allow this id; the CRM uses the other fields
	}
	a, err := c.lookUp(ctx, item{Kind: kindOrder, Key: strings.ToUpper(number), Asker: by})
	if err != nil || a.Order == nil {
		return dialog.Order{}, false, err
	}
	order := *a.Order
	order.Coded = coded(order.Coded)
	return order, true, nil
}

// maxValues limits the values of a code.
const maxValues = 10

// coded returns a code, or none if it exceeds a limit: then the customer gets the CRM's own text.
func coded(c dialog.Coded) dialog.Coded {
	if utf8.RuneCountInString(c.Code) > maxQuoted || len(c.Values) > maxValues {
		return dialog.Coded{}
	}
	for _, value := range c.Values {
		if utf8.RuneCountInString(value) > maxQuoted {
			return dialog.Coded{}
		}
	}
	return c
}

// ValidateAddress checks an address on one line. An invalid address is not an error.
func (c *Client) ValidateAddress(ctx context.Context, address string) (dialog.AddressCheck, error) {
	a, err := c.lookUp(ctx, item{Kind: kindAddress, Key: address})
	switch {
	case err != nil:
		return dialog.AddressCheck{}, err
	case a.Address == nil:
		return dialog.AddressCheck{Problem: "it is not known", Coded: dialog.Coded{Code: "unknown"}}, nil
	case *a.Address.Valid:
		return dialog.AddressCheck{Valid: true, Address: a.Address.Address}, nil
	default:
		return dialog.AddressCheck{
			Problem: fmt.Sprintf("%.*s", maxQuoted, a.Address.Reason),
			Coded:   coded(a.Address.Coded),
		}, nil
	}
}

// kind is a kind of lookup, as the contract names it.
type kind string

const (
	kindCustomer kind = "customer"
	kindOrder    kind = "order"
	kindInvoice  kind = "invoice"
	kindCharges  kind = "charges"
	kindAddress  kind = "address"
)

// item identifies one lookup.
type item struct {
	Kind  kind   `json:"kind"`
	Key   string `json:"key"`
	Owner string `json:"owner,omitempty"` // for invoices and charges: the customer whose order it must be
	Asker Asker  `json:"asker,omitzero"`  // for orders: the customer who asks
}

// named returns the part of an item that its answer repeats.
func (it item) named() item { return item{Kind: it.Kind, Key: it.Key, Owner: it.Owner} }

// owned returns the lookup of an invoice or of charges, which only the order's customer may see. The
// owner, like the asker, is part of the cache key, so that no customer gets another's result.
func owned(k kind, customer, number string) item {
	return item{Kind: k, Key: strings.ToUpper(number), Owner: customer}
}

func (it item) owned() bool { return it.Kind == kindInvoice || it.Kind == kindCharges }

// check rejects an item that would make the CRM reject the whole batch.
func (it item) check() error {
	if it.owned() {
		return checked("order", it.Key, "customer", it.Owner)
	}
	return checked(string(it.Kind), it.Key)
}

// checked rejects keys that the contract does not allow, given as pairs of name and value.
func checked(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if n := utf8.RuneCountInString(pairs[i+1]); n < 1 || n > maxKey || !utf8.ValidString(pairs[i+1]) {
			return refused("the %s has %d characters; it must be text of 1 to %d", pairs[i], n, maxKey)
		}
	}
	return nil
}

// lookup is an item in progress or done, shared by all callers that ask for it.
type lookup struct {
	item
	done   chan struct{} // closed when the rest is set
	answer answer
	err    error
	until  time.Time // the result is cached until then
}

// batch is the lookups of one request, in the context (trace) of the first caller.
type batch struct {
	ctx     context.Context
	lookups []*lookup
	full    chan struct{}
}

// lookUp waits for the answer to one item. A caller whose context ends does not cancel the lookup for
// the others.
func (c *Client) lookUp(ctx context.Context, it item) (answer, error) {
	if err := it.check(); err != nil {
		return answer{}, err
	}
	l, err := c.join(ctx, it)
	if err != nil {
		return answer{}, err
	}
	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
		return answer{}, &Error{State: domain.DeliveryRetry, Reason: "no answer in time: " + context.Cause(ctx).Error()}
	}
}

// join returns an item that is cached or in progress, or adds it to the gathering batch.
func (c *Client) join(ctx context.Context, it item) (*lookup, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.known.Get(it); ok && (l.until.IsZero() || time.Now().Before(l.until)) {
		return l, nil
	}
	if c.ctx.Err() != nil {
		return nil, &Error{State: domain.DeliveryRetry, Reason: "the client is closed"}
	}
	if c.http.OpenFor() > 0 {
		return nil, c.open() // without waiting for the window: the batch could not be sent
	}
	l := &lookup{item: it, done: make(chan struct{})}
	c.known.Add(it, l)
	c.gather(ctx, l)
	return l, nil
}

func (c *Client) gather(ctx context.Context, l *lookup) {
	b := c.gathering[l.Kind]
	if b == nil {
		b = &batch{ctx: context.WithoutCancel(ctx), full: make(chan struct{})}
		c.gathering[l.Kind] = b
		c.batches.Go(func() { c.sendBatch(l.Kind, b) })
	}
	if b.lookups = append(b.lookups, l); len(b.lookups) == maxBatch {
		delete(c.gathering, l.Kind)
		close(b.full)
	}
}

// sendBatch waits until a batch is full or its first lookup has waited for the window, sends
// it, and hands out the answers.
func (c *Client) sendBatch(k kind, b *batch) {
	select {
	case <-time.After(window):
	case <-b.full:
	case <-c.ctx.Done():
	}
	c.mu.Lock()
	if c.gathering[k] == b {
		delete(c.gathering, k)
	}
	c.mu.Unlock()

	if c.Batched != nil {
		c.Batched(len(b.lookups))
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if c.ctx.Err() != nil {
		cancel() // AfterFunc cancels in another goroutine, perhaps after the call has begun
	}
	c.ask(ctx, b.lookups)

	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range b.lookups {
		// "Not found" is not cached: a new order may reach the CRM a moment later, and its customer
		// asks again.
		if l.until = time.Now().Add(life); l.err != nil || !l.answer.found() {
			c.known.Remove(l.item)
		}
		close(l.done)
	}
}

// forget removes an item from the cache, also when its lookup is still in progress: the next
// caller asks the CRM.
func (c *Client) forget(it item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Remove(it)
}

// ask makes one request and sets the answer or the error of each lookup.
func (c *Client) ask(ctx context.Context, lookups []*lookup) {
	items := make([]item, len(lookups))
	for i, l := range lookups {
		items[i] = l.item
	}
	var got answers
	err := c.call(ctx, http.MethodPost, "/lookups", "", map[string][]item{"lookups": items}, &got)
	if err != nil && err.State == domain.DeliveryRefused && len(lookups) > 1 {
		err.State = domain.DeliveryRetry // one lookup may be the cause: each is retried at another time
	}
	for i, l := range lookups {
		if err != nil {
			l.err = err
		} else {
			l.answer, l.err = got.to(i, l.item)
		}
	}
}

// answers is the answer to a batch. Each is decoded on its own, so that an unreadable one does
// not affect the others.
type answers struct {
	Answers []json.RawMessage `json:"answers"`
}

// answer is the answer to one item. The field of the item's kind is set if it was found.
type answer struct {
	item
	Status   string        `json:"status"`
	Customer *Customer     `json:"customer"`
	Order    *dialog.Order `json:"order"`
	Invoice  *Invoice      `json:"invoice"`
	Charges  *struct {
		Charges []Charge `json:"charges"`
	} `json:"charges"`
	Address *struct {
		Valid   *bool  `json:"valid"`
		Address string `json:"address"`
		Reason  string `json:"reason"`
		dialog.Coded
	} `json:"address"`
	Error *problem `json:"error"`
}

// Statuses of an answer.
const (
	statusFound    = "found"
	statusNotFound = "not_found"
	statusError    = "error"
)

func (a answer) found() bool { return a.Status == statusFound }

// to decodes the answer to item i.
func (as answers) to(i int, it item) (answer, error) {
	if i >= len(as.Answers) {
		return answer{}, unreadable(domain.DeliveryRetry, "it lacks answers[%d]", i)
	}
	var a answer
	if err := read(as.Answers[i], &a); err != nil {
		return answer{}, unreadable(domain.DeliveryRetry, "answers[%d]: %v", i, err)
	}
	lacks := a.lacks()
	switch {
	case lacks != "":
		return answer{}, unreadable(domain.DeliveryRetry, "answers[%d] lacks %s", i, lacks)
	case a.Address != nil && utf8.RuneCountInString(a.Address.Address) > maxKey:
		// The contract would not allow it as a key.
		return answer{}, unreadable(domain.DeliveryRetry,
			"answers[%d].address.address is longer than %d characters", i, maxKey)
	case a.item.named() != it.named():
		return answer{}, unreadable(domain.DeliveryRetry, "answers[%d] is to another lookup", i)
	case a.Status == statusError && it.denied(a.Error.Status):
		return answer{item: it, Status: statusNotFound}, nil
	case a.Status == statusError:
		return answer{}, a.Error.error()
	case a.Status == statusNotFound:
		return answer{item: it, Status: statusNotFound}, nil
	case a.found():
		return a, nil
	default:
		return answer{}, unreadable(domain.DeliveryRetry, "answers[%d] has the unknown status %q", i, a.Status)
	}
}

// denied reports whether an error means that the asker may not see the purchase. The lookup then
// returns "not found".
func (it item) denied(status int) bool {
	return (it.Kind == kindOrder || it.owned()) && (status == http.StatusForbidden || status == http.StatusNotFound)
}

// lacks returns the names of the fields that are missing from an answer.
func (a answer) lacks() string {
	lacks := missing("kind", string(a.Kind), "key", a.Key, "status", a.Status)
	switch {
	case lacks != "":
	case a.Status == statusError && a.Error == nil:
		lacks = "error"
	case !a.found():
	case a.Kind == kindCustomer && a.Customer != nil:
		lacks = missing("customer.id", a.Customer.ID, "customer.name", a.Customer.Name)
	case a.Kind == kindOrder && a.Order != nil:
		lacks = missing("order.number", a.Order.Number, "order.status", a.Order.Status)
	case a.Kind == kindInvoice && a.Invoice != nil:
		lacks = missing("invoice.number", a.Invoice.Number, "invoice.amount", a.Invoice.Amount, "invoice.date",
			a.Invoice.Date, "invoice.url", a.Invoice.URL)
	case a.Kind == kindCharges && a.Charges != nil && a.Charges.Charges == nil:
		lacks = "charges.charges"
	case a.Kind == kindCharges && a.Charges != nil:
		for i, c := range a.Charges.Charges {
			at := fmt.Sprintf("charges.charges[%d].", i)
			if lacks = missing(at+"id", c.ID, at+"amount", c.Amount, at+"date", c.Date, at+"status", c.Status); lacks != "" {
				break
			}
		}
	case a.Kind == kindAddress && a.Address != nil && a.Address.Valid != nil && *a.Address.Valid:
		lacks = missing("address.address", a.Address.Address)
	case a.Kind == kindAddress && a.Address != nil && a.Address.Valid != nil:
		lacks = missing("address.reason", a.Address.Reason)
	case a.Kind == kindAddress && a.Address != nil:
		lacks = "address.valid"
	default:
		lacks = string(a.Kind)
	}
	return lacks
}
