package main

import (
	"time"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/cmd/internal/dev"
)

type devCmd struct {
	database
	Listen        string        `default:"127.0.0.1:8080" env:"CHATLEDGER_LISTEN" help:"${dev_listen}"`
	Sim           string        `default:"127.0.0.1:8081" env:"CHATLEDGER_SIM" help:"${dev_sim}"`
	CRM           string        `name:"crm" default:"127.0.0.1:8082" env:"CHATLEDGER_CRM" help:"${dev_crm}"`
	Zendesk       string        `default:"127.0.0.1:8083" env:"CHATLEDGER_ZENDESK" help:"${dev_zendesk}"`
	Model         bool          `help:"${dev_model}"`
	ModelListen   string        `default:"127.0.0.1:8084" env:"CHATLEDGER_MODEL" help:"${dev_model_listen}"`
	Operators     string        `default:"127.0.0.1:8090" env:"CHATLEDGER_OPERATORS" help:"${dev_operators}"`
	DataDir       string        `default:".data" env:"CHATLEDGER_DATA_DIR" help:"${dev_data_dir}"`
	ChatLimit     int           `default:"0" help:"${dev_chat_limit}"`
	ReorderWindow time.Duration `default:"0s" help:"${dev_reorder_window}"`
	tracingFlags
}

// devHelp has the help texts of the flags above, by the names that the tags use.
var devHelp = kong.Vars{
	"dev_listen":         "Address of the webhook, /healthz, /readyz and /metrics.",
	"dev_sim":            "Address of the Telegram simulator and its chat page.",
	"dev_crm":            "Address of the CRM simulator: orders, invoices, charges and addresses.",
	"dev_zendesk":        "Address of the Zendesk simulator.",
	"dev_model":          "Let a simulated language model answer what no workflow answers.",
	"dev_model_listen":   "Address of the language model simulator.",
	"dev_operators":      "Address of the operators' API.",
	"dev_data_dir":       "Folder of the private PostgreSQL: its data, and its address in the file dsn.",
	"dev_chat_limit":     "Messages of one chat that are answered in a minute; 0 is no limit.",
	"dev_reorder_window": "How long an update waits for others of its chat with lower ids.",
}

// Run runs everything until it is told to stop.
func (c *devCmd) Run(e *env) error {
	dsn, err := c.resolved()
	if err != nil {
		return err
	}
	d := dev.Config{
		DatabaseURL: dsn, DataDir: c.DataDir,
		Listen: c.Listen, Telegram: c.Sim, CRM: c.CRM, Zendesk: c.Zendesk, Operators: c.Operators,
		ChatLimit: c.ChatLimit, ReorderWindow: c.ReorderWindow,
		Tracing: c.tracing(), Version: programVersion(), Log: e.log, Out: e.stdout,
	}
	if c.Model {
		d.Model = c.ModelListen
	}
	return dev.Run(e.ctx, d)
}
