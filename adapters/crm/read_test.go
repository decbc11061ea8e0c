package crm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain/dialog"
)

func TestRead_NumberForText_IsAccepted(t *testing.T) {
	t.Parallel()
	var got answers
	if err := read([]byte(`{"answers":[
		{"kind":"order","key":1001,"status":"found","order":{"number":1001,"status":"shipped","weight":1.5}},
		{"kind":"invoice","key":"1001","owner":7,"status":"found",
			"invoice":{"number":90071992547409931,"amount":24.90,"date":"2026-03-02","url":"https://x"}},
		{"kind":"order","key":"1001","status":"found","order":{"number":["1001"],"status":"shipped"}}]}`), &got); err != nil {
		t.Fatal(err)
	}
	if a, err := got.to(0, item{Kind: kindOrder, Key: "1001"}); err != nil ||
		!cmp.Equal(*a.Order, dialog.Order{Number: "1001", Status: "shipped"}) {
		t.Errorf("the order is %+v (%v)", a.Order, err)
	}
	if a, err := got.to(1, item{Kind: kindInvoice, Key: "1001", Owner: "7"}); err != nil ||
		a.Invoice.Number != "90071992547409931" || a.Invoice.Amount != "24.90" {
		t.Errorf("the invoice is %+v (%v)", a.Invoice, err)
	}
	if a, err := got.to(2, item{Kind: kindOrder, Key: "1001"}); err == nil {
		t.Errorf("a list was read as an order number: %+v", a.Order)
	}
	var r Receipt
	if err := read([]byte(`{"id":5,"customer":"C-1","address":"x","updated_at":1772442000}`), &r); err != nil ||
		r.ID != "5" || r.UpdatedAt != "1772442000" {
		t.Errorf("the receipt is %+v (%v)", r, err)
	}
	if err := read([]byte(`{"id":`), &r); err == nil {
		t.Error("half an answer was read without an error")
	}
}
