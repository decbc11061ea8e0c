package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// retention says how long a bot's updates are kept as Telegram sent them, and what is in
// its quarantine. What is not said is kept for ever.
type retention struct {
	Raw        keep `yaml:"raw"`
	Quarantine keep `yaml:"quarantine"`
}

// keep is a duration that may be given in days, such as 90d.
type keep time.Duration

const (
	// retainEvery is how often what was kept for long enough is looked for: that much longer
	// than a bot wants something may be there.
	retainEvery = time.Hour
	// minKeep leaves a day to look into what went wrong, maxKeep is what a time in the database
	// and one in Go can be apart.
	minKeep = 24 * time.Hour
	maxKeep = 100 * 365 * 24 * time.Hour
)

func (k keep) String() string { return time.Duration(k).String() }

// UnmarshalYAML reads 90d, or what Go reads as a duration.
func (k *keep) UnmarshalYAML(node *yaml.Node) error {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(node.Value, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16) // 16 bits are too many for maxKeep, and not for a Duration
		d = time.Duration(n) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(node.Value)
	}
	if err != nil {
		return fmt.Errorf("line %d: %q is no time to keep something for: say 90d or 2160h", node.Line, node.Value)
	}
	*k = keep(d)
	return nil
}

func (r retention) check() error {
	for _, k := range []keep{r.Raw, r.Quarantine} {
		if d := time.Duration(k); d != 0 && (d < minKeep || d > maxKeep) {
			return errors.New("retention: raw and quarantine are 1d to 36500d; without one it is kept for ever")
		}
	}
	return nil
}

// retain removes what the bots do not keep any longer: now, then now and again, and when
// they keep it for another time than before.
func (a *app) retain(ctx context.Context) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		a.remove(ctx)
		select {
		case <-ctx.Done():
			return
		case <-a.rekeep:
		case <-tick.C:
		}
	}
}

func (a *app) remove(ctx context.Context) {
	type kind struct{ what, bot string }
	gone := map[kind]int64{}
	err := a.store.Retain(ctx, a.retentions, func(what, bot string, rows int64) {
		a.metrics.Removed(what, bot, rows)
		gone[kind{what, bot}] += rows
	})
	for k, rows := range gone {
		if rows > 0 {
			a.log.Info("removed what was kept for long enough", "what", k.what, "bot", k.bot, "rows", rows)
		}
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error("what was kept for long enough is not removed; trying again in "+retainEvery.String(), "error", err)
	}
}

// retentions are the bots' at the moment. One that is not in the file keeps everything.
func (a *app) retentions() map[string]postgres.Retention {
	all := map[string]postgres.Retention{}
	for name, b := range a.bots.all() {
		keep := b.config.Retention
		all[name] = postgres.Retention{Updates: time.Duration(keep.Raw), Quarantine: time.Duration(keep.Quarantine)}
	}
	return all
}
