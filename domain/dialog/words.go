package dialog

import "maps"

// Word names something that the bot says of itself, whatever it knows.
type Word string

// The bot's own words. Each may be said in a team's own way (see Knowledge.Words).
const (
	WordWelcome         Word = "welcome"
	WordHelp            Word = "help"
	WordNotUnderstood   Word = "not_understood"
	WordNothingToCancel Word = "nothing_to_cancel"
	WordNothingBefore   Word = "nothing_before"
	WordMedia           Word = "media"
	WordPerson          Word = "person"       // fetched, for whatever reason
	WordTooFast         Word = "too_fast"     // over the limit of messages, said once
	WordBacklog         Word = "backlog"      // before the answer to what has waited: {count}, and {list} of the last
	WordCancelled       Word = "cancelled"    // {title}
	WordExpired         Word = "expired"      // {title}
	WordTakeUp          Word = "take_up"      // an expired workflow: {title}, with {text} as the answer
	WordReminder        Word = "reminder"     // {title}
	WordBackTo          Word = "back_to"      // after an interruption: {title}
	WordSwitch          Word = "switch"       // {title} is what runs, {other} what would
	WordThen            Word = "then"         // before the first of two workflows: {other} is the second
	WordWhere           Word = "where"        // where we are, when the step has no help of its own: {title}
	WordWaiting         Word = "waiting"      // for a tool
	WordFailed          Word = "failed"       // something could not be done; a person comes
	WordUnavailable     Word = "unavailable"  // a workflow that has changed since
	WordConfirmTool     Word = "confirm_tool" // {action}, before a model's tool changes anything
	WordRefused         Word = "refused"      // what was asked for is no business of the bot's
	ToastOld            Word = "toast_old"    // a button of an earlier step
	ToastOK             Word = "toast_ok"     // a button was taken
	ToastCancelled      Word = "toast_cancelled"
	LabelYes            Word = "label_yes"
	LabelChange         Word = "label_change"
	LabelCancel         Word = "label_cancel"
	LabelBack           Word = "label_back"
	LabelSwitch         Word = "label_switch"
	LabelStay           Word = "label_stay"
	LabelGoOn           Word = "label_go_on"
	ProblemShort        Word = "problem_short" // why an answer is rejected: half a sentence
	ProblemLong         Word = "problem_long"
	ProblemParts        Word = "problem_parts"
	ProblemStreet       Word = "problem_street"
	ProblemTown         Word = "problem_town"
	ProblemNumbers      Word = "problem_numbers"
	ProblemPostCode     Word = "problem_post_code"
	ProblemOneNumber    Word = "problem_one_number"
	ProblemOrderNumber  Word = "problem_order_number"
	ProblemEmail        Word = "problem_email"
	ProblemAmount       Word = "problem_amount"
	ProblemDate         Word = "problem_date"
	ProblemChoice       Word = "problem_choice"
)

// English of the bot's own words: short, concrete, and always with a way on.
var plain = map[Word]string{
	WordWelcome: "Hello! Write what you need, or “person” to talk to a colleague.",
	WordHelp: "Write what you need in your own words. “cancel” stops whatever we are doing, " +
		"“back” goes back a step, and “person” brings a colleague.",
	WordNotUnderstood: "I'm not sure what you mean. Could you put it in other words? /help shows what I " +
		"can do, and “person” brings a colleague.",
	WordNothingToCancel: "Nothing is under way. What can I do for you?",
	WordNothingBefore:   "This is the first step. “cancel” stops.",
	WordMedia: "Thank you, I've kept it. I can't look at files myself: tell me in a few words what " +
		"it is about, or write “person”.",
	WordPerson:    "A colleague will answer you here.",
	WordTooFast:   "You are writing faster than I can answer. I've kept everything; please give me a minute.",
	WordBacklog:   "I'm sorry, I was away and could not answer you. This is what you wrote meanwhile:\n{list}",
	WordCancelled: "Cancelled. Nothing was changed.",
	WordExpired:   "We left {title} unfinished for a while, so I've dropped it. Nothing was changed.",
	WordTakeUp: "We left {title} unfinished for a while, so I had dropped it. Shall I take it up " +
		"again, with “{text}” as your answer?",
	WordReminder:    "Are you still there? We have not finished {title}.",
	WordBackTo:      "Back to {title}.",
	WordSwitch:      "We are in the middle of {title}. Shall we do {other} first, and come back to it?",
	WordThen:        "One after the other; {other} comes next.",
	WordWhere:       "We are at {title}. Write “cancel” to stop, or “back” to go back a step.",
	WordWaiting:     "One moment, I'm still looking.",
	WordFailed:      "I can't do that right now. A colleague will see to it and answer you here.",
	WordUnavailable: "I can't go on with {title} as it was. Please begin again.",
	WordConfirmTool: "Shall I do this?\n{action}",
	WordRefused: "I can't help with that. Tell me what you need for your order or your account, or " +
		"write “person”.",
	ToastOld:           "This button belongs to an earlier step.",
	ToastOK:            "OK",
	ToastCancelled:     "Cancelled",
	LabelYes:           "Yes",
	LabelChange:        "Correct it",
	LabelCancel:        "Cancel",
	LabelBack:          "Back",
	LabelSwitch:        "Yes, switch",
	LabelStay:          "No, go on",
	LabelGoOn:          "Go on",
	ProblemShort:       "it is too short",
	ProblemLong:        "it is too long",
	ProblemParts:       "I need street and place, separated by a comma or on two lines",
	ProblemStreet:      "the street is missing",
	ProblemTown:        "the town is missing",
	ProblemNumbers:     "the house number and the post code are missing",
	ProblemPostCode:    "the post code is missing",
	ProblemOneNumber:   "the house number or the post code is missing",
	ProblemOrderNumber: "an order number has four to ten digits",
	ProblemEmail:       "an e-mail address has the form name@example.com",
	ProblemAmount:      "an amount is a number such as 12.50",
	ProblemDate:        "a date is written as 2026-03-31",
	ProblemChoice:      "please press one of the buttons, or write what stands on one",
}

// Words are the names of everything the bot says of itself, with its plain English.
func Words() map[Word]string { return maps.Clone(plain) }
