package postgres

import "time"

// Claim's statement, for a look at its plan.
const ClaimSQL = claim

// SaveEvery changes how long the checkpoint may stay behind, until it is restored.
func (c *Consumer) SaveEvery(d time.Duration) (restore func()) {
	before := c.every
	c.every = d
	return func() { c.every = before }
}

// PollEvery changes how often the feed is read without a reason.
func (c *Consumer) PollEvery(d time.Duration) { c.poll = d }

// ClaimsAtOnce is how many claims may have a connection.
const ClaimsAtOnce = claimsAtOnce
