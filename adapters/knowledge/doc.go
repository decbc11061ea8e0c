// Package knowledge reads the folder of texts, intents and workflows that a team writes for its
// bot. It trains models of the intents from the example messages, and stores the models by
// their content.
package knowledge
