package dialog

import "strings"

// The bot's words. Short, concrete, and always with a way on.
const (
	sayWelcome            = "Hello! I can tell you where an order is, help with invoices and billing, change your billing address, and fix common problems. Write what you need, or “person” to talk to a colleague."
	sayHelp               = "You can write, for example:\n• Where is my order 1001?\n• I want to change my billing address\n• My invoice looks wrong\n• I can't log in\n• I want to talk to a person\n“cancel” stops whatever we are doing."
	sayGreeting           = "Hello! What can I do for you?"
	sayThanks             = "You're welcome!"
	sayWhichOrder         = "Which order do you mean? Please send me its number; it is in the confirmation e-mail."
	sayNothingToCancel    = "There is nothing to cancel. What can I do for you?"
	sayNotUnderstood      = "I'm not sure what you mean. Could you put it in other words? /help shows what I can do, and “person” brings a colleague."
	sayNotUnderstoodTwice = "I still don't understand, sorry. A colleague will read this and answer you here."
	sayMedia              = "Thank you, I've kept it. I can't look at files myself: tell me in a few words what it is about, or write “person”."
	sayAngry              = "I'm sorry about this. A colleague is taking over now and will answer you here as soon as possible."
	sayCancelOrder        = "I can't cancel that myself. A colleague will see to it and answer you here."
	sayPerson             = "Of course. A colleague will answer you here."
	sayNotHelped          = "I'm sorry that didn't help. A colleague will look into it and answer you here."
	sayExpired            = "Your address change was left unfinished for an hour, so I've dropped it. Nothing was changed."

	sayAskAddress  = "Sure. Please send me the new billing address: street and house number, then post code and town, separated by a comma. “cancel” stops."
	sayAskAgain    = "All right, please send me the address again, or edit your message."
	sayHelpAddress = "We are changing your billing address. Send me the address, edit your message to correct it, or write “cancel”."
	sayChecking    = "I'm still checking the address you sent, and will ask you before anything is changed. Send me another one to check that instead, or write “cancel”."
	sayNotChecked  = "I can't check your new address right now. Nothing was changed: a colleague will see to it and answer you here."
	sayNotSaved    = "I couldn't complete the change of your billing address. A colleague will see to it and answer you here."
	sayCancelled   = "Cancelled. Nothing was changed."

	toastOld       = "This button belongs to an earlier step."
	toastSaved     = "Saved"
	toastSaving    = "One moment…"
	toastAgain     = "Send it again"
	toastCancelled = "Cancelled"
)

func sayBadAddress(problem string) string {
	return "I can't use this address yet: " + problem + ". Please send it again, for example: 12 Baker Street, London NW1 6XE."
}

func sayConfirmAddress(address string) string {
	return "Your new billing address will be:\n" + address + "\nIs that right?"
}

func saySaving(address string) string {
	return "Your new billing address is being saved, which can't be stopped any more: " + address + ". I'll tell you when it is done; then you can change it again."
}

func sayAddressChanged(address string) string {
	return "Done: your billing address is now " + address + "."
}

// answer says what there is to say about an intent that needs nothing else.
func answer(u Understanding, text string) Reply {
	switch u.Intent {
	case Start:
		return say(sayWelcome)
	case Help:
		return say(sayHelp)
	case Greeting:
		return say(sayGreeting)
	case Thanks:
		return say(sayThanks)
	case Cancel:
		return say(sayNothingToCancel)
	case OrderStatus:
		return say(sayWhichOrder)
	case Billing:
		return say(tip(billingTips, text))
	case Troubleshooting:
		return say(tip(troubleTips, text) + "\nDid that help? If not, just say so.")
	default:
		return say(sayNotUnderstood)
	}
}

// A tip answers messages that contain one of its words, or a word that begins so
// where no space follows; the last of a list has no words and answers the rest.
type tipFor struct {
	words []string
	text  string
}

var billingTips = []tipFor{
	{[]string{"refund", "money back"}, "Refunds go back to the card or account you paid with, within 5 working days after we have the goods. If it has been longer, write “person”."},
	{[]string{"twice", "double", "duplicate"}, "A second booking is often only a reservation that lapses within 3 days. If both are still there after that, write “person” and we will return one."},
	{[]string{"invoice", "receipt", "bill ", "bills "}, "Every invoice is in your account under Orders › Invoices, as a PDF. If one is wrong, tell me what should change, or write “person”."},
	{[]string{"card", "declined", "payment"}, "If a payment was declined, please check the card's expiry date and limit, or choose another way to pay under Account › Payment."},
	{nil, "You find charges, invoices and ways to pay in your account under Billing. What would you like to know: a refund, an invoice, or a payment?"},
}

var troubleTips = []tipFor{
	{[]string{"log in", "logging in", "login", "password", "sign in", "signing in"}, "Please use “Forgot password” on the sign-in page; the link arrives within 2 minutes, so look in the spam folder too."},
	{[]string{"crash", "freez", "app ", "slow"}, "Please close the app fully, install the latest version, and open it again."},
	{[]string{"email", "e mail", "confirmation"}, "Please look in the spam folder for mail from us, and check the address under Account › Profile."},
	{nil, "Please reload the page or restart the app, and try once more; that solves most of it."},
}

func tip(tips []tipFor, text string) string {
	words := wordsOf(text)
	for _, t := range tips {
		if t.words == nil {
			return t.text
		}
		for _, word := range t.words {
			if strings.Contains(words, " "+word) {
				return t.text
			}
		}
	}
	panic("dialog: a list of tips without a last resort")
}
