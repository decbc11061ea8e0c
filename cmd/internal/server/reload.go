package server

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// botsFileEvery is how often the bots file, and what it refers to, is looked at: who
// saves it does not wait longer to see what it does.
const botsFileEvery = time.Second

// tryEvery is how often a file is tried again that could not be taken for what it refers
// to: that may come without the file's changing.
const tryEvery = 5 * time.Second

// glance is what the bots file was found to be at one moment.
type glance struct {
	config.File
	Wrong string
}

// LookAt reads a bots file.
func LookAt(path string) glance {
	file, err := config.Read(path)
	if err != nil {
		return glance{Wrong: err.Error()}
	}
	return glance{File: file}
}

func (g glance) same(other glance) bool {
	return g.Wrong == other.Wrong && g.File.Same(other.File)
}

// followBotsFile follows the bots file until ctx ends: when it, or a file with a secret
// or with orders that it names, has changed and stays the same for two looks, so that a
// save under way is not taken for a mistake, and whenever SIGHUP asks for it.
func (a *Server) followBotsFile(ctx context.Context) {
	path := a.config.BotsFile
	if path == "" {
		return
	}
	told := glance{File: config.File{Bots: a.config.Bots, Server: a.config.Server}}
	last := told
	refused, tried := "", time.Time{}
	tick := time.NewTicker(botsFileEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-a.config.Hangup:
			asked = true
		case <-tick.C:
		}
		now := LookAt(path)
		settled := now.same(last)
		last = now
		news := asked || settled && !now.same(told)
		if !news && (refused == "" || !settled || time.Since(tried) < tryEvery) {
			continue
		}
		why := ""
		if err := a.reload(ctx, now); err != nil {
			why = telemetry.OneLine(telemetry.Wording(err))
		}
		switch {
		case why != "" && (news || why != refused):
			a.log.Error("bots file rejected; keeping the previous settings", "file", path, "mistakes", why)
		case why == "" && refused != "":
			a.log.Warn("bots file accepted again", "file", path) // ends the error above
		}
		a.metrics.BotsFile(why == "")
		told, refused, tried = now, why, time.Now()
	}
}

// reload makes the bots and the server what a file says. One with a mistake changes
// nothing.
func (a *Server) reload(ctx context.Context, file glance) error {
	if file.Wrong != "" {
		return errors.New(file.Wrong)
	}
	fresh, err := a.rebuild(file.File)
	server, later := a.config.Server.WithinReach(file.Server)
	if err == nil {
		if err = a.rearm(server); err != nil {
			err = file.Mistake("server: ", err, "server")
		}
	}
	if err != nil {
		for _, b := range fresh {
			b.wait()
		}
		return err
	}
	rearmed := config.Differing("", a.config.Server, server)
	a.config.Server = server

	running := a.Bots.All()
	var added, changed, removed []string
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if _, stays := file.Bots[name]; !stays {
			removed = append(removed, name)
			a.leave(running[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		if former := running[name]; former != nil {
			changed = append(changed, name)
			a.retire(former) // its updates are received meanwhile
		} else {
			added = append(added, name)
		}
		a.enter(fresh[name])
		if a.config.Only.works() {
			if err := a.Router.Start(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("cannot start a bot's deliveries: restart serve", "bot", name, "error", err)
			}
		}
		a.accompany(ctx, fresh[name])
	}
	select {
	case a.rekeep <- struct{}{}:
	default: // it is due already
	}
	a.log.Info("bots file reloaded", "file", a.config.BotsFile, "added", added, "changed", changed, "removed", removed, "server", rearmed)
	if len(later) > 0 {
		a.log.Warn("restart serve to apply these server settings of the bots file", "file", a.config.BotsFile, "settings", later)
	}
	return nil
}

// rebuild builds the bots of a file that are new or have changed. What it could build is
// the caller's, also with an error.
func (a *Server) rebuild(file config.File) (map[string]*bot, error) {
	running, fresh := a.Bots.All(), map[string]*bot{}
	for _, name := range slices.Sorted(maps.Keys(file.Bots)) {
		former := running[name]
		if former != nil && former.same(file.Bots[name]) {
			continue
		}
		b, err := a.newBot(name, file.Bots[name], former)
		if err != nil {
			return fresh, file.Mistake("bot "+name+": ", err, "bots", name)
		}
		fresh[name] = b
	}
	return fresh, nil
}
