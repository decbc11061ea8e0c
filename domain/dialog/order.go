package dialog

import "fmt"

// Order is what a look-up found; the zero Order when there is no such order.
type Order struct {
	Number string `json:"number"`
	Status string `json:"status"` // processing, shipped, delivered, cancelled
	Detail string `json:"detail,omitempty"`
}

// AnswerOrder tells the customer what a look-up found.
func AnswerOrder(number string, order Order, found bool) Reply {
	if !found {
		return say(fmt.Sprintf("I can't find an order %s. Please check the number: it is in the confirmation e-mail. Or write “person” and a colleague will look.", number))
	}
	text := fmt.Sprintf("Order %s: %s.", order.Number, order.Status)
	if order.Detail != "" {
		text += " " + order.Detail
	}
	return say(text)
}

// AnswerOrderUnavailable tells the customer that orders cannot be looked up now.
func AnswerOrderUnavailable(number string) Reply {
	return say(fmt.Sprintf("I can't look up order %s right now. A colleague will check it and write to you here.", number))
}
