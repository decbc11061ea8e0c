package domain

// DeliveryState is the state of a delivery: of one effect outside of chatledger that an
// event asked for.
type DeliveryState string

// States of a delivery. An attempt ends in one of the first five. DeliveryRetry is only
// the outcome of an attempt: the delivery is waiting then.
const (
	DeliveryDone    DeliveryState = "done"
	DeliveryRefused DeliveryState = "refused" // for good
	DeliveryUnknown DeliveryState = "unknown" // the request was written and no answer came: it may have arrived
	DeliveryRetry   DeliveryState = "retry"   // it did not arrive, and another attempt follows
	DeliveryDead    DeliveryState = "dead"    // a dead letter: an operator decides

	DeliveryWaiting DeliveryState = "waiting"
	DeliverySending DeliveryState = "sending" // a worker holds its lease
	DeliverySkipped DeliveryState = "skipped" // by an operator
)

// DeliveryKind says what a delivery does, as <destination>.<operation>.
type DeliveryKind string

// Kinds of deliveries, beside those that use a tool (see chat.KindOf).
const (
	KindSendMessage  DeliveryKind = "telegram.sendMessage"
	KindAnswerButton DeliveryKind = "telegram.answerCallbackQuery"
	KindCreateTicket DeliveryKind = "zendesk.createTicket"
	KindAddComment   DeliveryKind = "zendesk.comment"
	KindSetStatus    DeliveryKind = "zendesk.setStatus"
	KindSetPriority  DeliveryKind = "zendesk.setPriority"
	KindAskModel     DeliveryKind = "llm.ask"

	// KindTyping is a part of another delivery's attempt, never a delivery of its own.
	KindTyping DeliveryKind = "telegram.sendChatAction"
)
