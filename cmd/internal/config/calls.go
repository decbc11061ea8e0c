package config

// CallsOut returns the URLs of the systems that a bot calls besides Telegram, by name.
func (b Bot) CallsOut() map[string]string {
	calls := map[string]string{}
	if b.Zendesk != nil {
		calls["zendesk"] = b.Zendesk.URL
	}
	if b.CRM != nil {
		calls["crm"] = b.CRM.URL
	}
	if b.Model != nil {
		calls["model"] = b.Model.URL
	}
	return calls
}
