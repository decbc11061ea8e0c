package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Retention says how long the bodies of a bot's updates and of its quarantine are kept. 0 means for
// ever.
type Retention struct {
	Raw        Keep `yaml:"raw"`
	Quarantine Keep `yaml:"quarantine"`
}

// Keep is a duration that may be given in days, such as 90d.
type Keep time.Duration

func (k Keep) String() string { return time.Duration(k).String() }

// UnmarshalYAML reads a number of days, such as 90d, or a Go duration.
func (k *Keep) UnmarshalYAML(node *yaml.Node) error {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(node.Value, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16) // 16 bits hold MaxKeep and fit in a Duration
		d = time.Duration(n) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(node.Value)
	}
	if err != nil {
		return fmt.Errorf("%q is not a duration: write 90d or 2160h", node.Value)
	}
	*k = Keep(d)
	return nil
}

func (r Retention) check() error {
	for _, k := range []Keep{r.Raw, r.Quarantine} {
		if d := time.Duration(k); d != 0 && (d < MinKeep || d > MaxKeep) {
			return errors.New("retention: raw and quarantine are 1d to 36500d; left out, they are kept for ever")
		}
	}
	return nil
}

// MinKeep leaves a day to investigate an error. MaxKeep is the longest interval that both
// PostgreSQL and Go can represent.
const (
	MinKeep = 24 * time.Hour
	MaxKeep = 100 * 365 * 24 * time.Hour
)
