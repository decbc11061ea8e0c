package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/chatledger/chatledger/domain"
)

// Zendesk is the Zendesk account that also keeps a bot's tickets. All fields but the rate may be
// references.
type Zendesk struct {
	URL           string   `yaml:"url"`
	Email         string   `yaml:"email"` // of the agent that the token acts as
	Token         string   `yaml:"token"`
	WebhookSecret string   `yaml:"webhook_secret"` // signs what Zendesk posts to /zendesk/<bot>
	Rate          *float64 `yaml:"rate"`           // requests a minute of all bots with this account; 0 is no limit
}

const (
	// ZendeskRate is the limit of Zendesk's smallest plan, in requests a minute.
	ZendeskRate = 200
	// maxZendeskRate is the limit of its largest plan.
	maxZendeskRate = 2500
)

// ZendeskKinds are the kinds of deliveries that go to Zendesk.
var ZendeskKinds = []domain.DeliveryKind{domain.KindCreateTicket, domain.KindAddComment, domain.KindSetStatus,
	domain.KindSetPriority}

func (z *Zendesk) references() []reference {
	return []reference{
		{"zendesk: url", &z.URL}, {"zendesk: email", &z.Email}, {"zendesk: token", &z.Token},
		{"zendesk: webhook_secret", &z.WebhookSecret},
	}
}

// check validates an account and sets the default rate.
func (z *Zendesk) check() error {
	if z.Rate == nil {
		rate := float64(ZendeskRate)
		z.Rate = &rate
	}
	address, err := url.Parse(z.URL)
	switch {
	case err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http":
		return errors.New("url is not an address: write it as https://shop.zendesk.com")
	case !strings.Contains(z.Email, "@"):
		return errors.New("email is missing: give that of the agent that the token acts as")
	case z.Token == "":
		return errors.New("token is missing: the Admin Center shows it, under Zendesk API")
	case z.WebhookSecret == "":
		return errors.New("webhook_secret is missing: the webhook's page shows it; " +
			"without it every event of Zendesk is rejected")
	case *z.Rate < 0 || *z.Rate > maxZendeskRate || *z.Rate > 0 && *z.Rate < 1:
		return fmt.Errorf("rate is a number of requests a minute, 1 to %d, or 0 for no limit", maxZendeskRate)
	}
	return nil
}
