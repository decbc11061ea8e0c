package config

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/chatledger/chatledger/adapters/oidc"
	"github.com/chatledger/chatledger/adapters/outbound"
)

// OIDC is the provider of OpenID Connect at which operators log in. The secret may be a reference.
type OIDC struct {
	Issuer       string `yaml:"issuer"`
	ClientID     string `yaml:"client_id"`
	ClientSecret string `yaml:"client_secret"`
	RedirectURL  string `yaml:"redirect_url"` // of the operators' API, as browsers reach it
	Claim        string `yaml:"claim"`        // that names an operator; empty means sub

	given string // where the secret comes from
}

// OIDCCallback is the end of every redirect_url.
const OIDCCallback = "/api/v1/session/oidc/callback"

// check follows the reference. Its error joins every mistake.
func (o *OIDC) check() error {
	if o == nil {
		return nil
	}
	var wrong []error
	no := func(bad bool, field string, err error) {
		if bad {
			wrong = append(wrong, In(fmt.Errorf("oidc: %s: %w", field, err), field))
		}
	}
	err := outbound.CheckBaseURL(o.Issuer)
	no(err != nil, "issuer", err)
	no(o.ClientID == "", "client_id", errors.New("missing: the provider shows it"))
	o.given = source(o.ClientSecret)
	secret, err := Resolve(o.ClientSecret)
	no(err != nil, "client_secret", err)
	no(err == nil && secret == "", "client_secret", errors.New("missing: the provider shows it"))
	o.ClientSecret = secret
	u, err := url.Parse(o.RedirectURL)
	no(err != nil || u.Scheme != "https" && !(u.Scheme == "http" && local(u.Hostname())) ||
		u.Path != OIDCCallback || u.RawQuery != "",
		"redirect_url", errors.New("must be the https address of the operators' API followed by "+OIDCCallback))
	return errors.Join(wrong...)
}

// Config returns the settings of the client; nil when operators log in with passwords only.
func (o *OIDC) Config() *oidc.Config {
	if o == nil {
		return nil
	}
	return &oidc.Config{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret, RedirectURL: o.RedirectURL, Claim: o.Claim,
	}
}
