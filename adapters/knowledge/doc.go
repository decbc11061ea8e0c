// Package knowledge reads what a team writes for its bot, and keeps what is made of it:
// models of intents, trained from the example messages and kept by their content.
package knowledge
