package operators

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"
)

// Time-based one-time passwords (RFC 6238), with the parameters that all authenticator apps know:
// SHA-1, 30 seconds, 6 digits.
const (
	totpSecretLength = 20 // bytes, as RFC 4226 recommends
	totpStep         = 30 * time.Second
	totpDigits       = 6
	// totpDrift is the number of steps by which the operator's clock may be wrong, in both directions.
	totpDrift = 1
	// totpIssuer is shown by an app with the operator's name.
	totpIssuer = "chatledger"
)

// NewTOTP returns a random secret, and the URI with which an authenticator app imports it.
func NewTOTP(name string) (secret []byte, uri string) {
	secret = make([]byte, totpSecretLength)
	rand.Read(secret) // never fails
	query := url.Values{"secret": {TOTPText(secret)}, "issuer": {totpIssuer}}
	address := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + totpIssuer + ":" + name, RawQuery: query.Encode()}
	return secret, address.String()
}

// TOTPText returns a secret as text that can be typed into an app.
func TOTPText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// totpStepOf returns the step of a code that is valid at a time; false if it is wrong. The comparison takes
// constant time.
func totpStepOf(secret []byte, code string, at time.Time) (step int64, right bool) {
	now := at.Unix() / int64(totpStep/time.Second)
	for drift := int64(-totpDrift); drift <= totpDrift; drift++ {
		if subtle.ConstantTimeCompare([]byte(totp(secret, now+drift, totpDigits)), []byte(code)) == 1 {
			step, right = now+drift, true
		}
	}
	return step, right
}

// totp returns the code of a step (RFC 4226, section 5.3).
func totp(secret []byte, step int64, digits int) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	modulus := uint32(1)
	for range digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", digits, number%modulus)
}
