package main

import (
	"github.com/chatledger/chatledger/cmd/internal/admin/authoring"
	"github.com/chatledger/chatledger/domain/dialog"
)

// knowledgeCmd works on the folder that a team writes for its bot (docs/knowledge.md).
type knowledgeCmd struct {
	Check knowledgeCheckCmd `cmd:"" help:"Print every mistake, or how well the intents are recognized."`
	Try   knowledgeTryCmd   `cmd:"" help:"Print how the bot understands a message, and how it answers."`
}

type knowledgeCheckCmd struct {
	Folder string `arg:"" optional:"" type:"existingdir" help:"The folder; the default is the built-in shop."`
	Quick  bool   `help:"Only look for mistakes; train no model."`
}

// Run checks a folder.
func (c *knowledgeCheckCmd) Run(e *env) error {
	return authoring.Folder(c.Folder).Check(e.stdout, c.Quick)
}

type knowledgeTryCmd struct {
	Text     string          `arg:"" help:"The message."`
	Folder   string          `type:"existingdir" help:"The folder; the default is the built-in shop."`
	Language dialog.Language `help:"The language of the conversation so far."`
}

// Run tries a message.
func (c *knowledgeTryCmd) Run(e *env) error {
	return authoring.Folder(c.Folder).Try(e.stdout, c.Text, c.Language, e.now())
}
