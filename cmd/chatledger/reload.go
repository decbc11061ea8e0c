package main

import (
	"context"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/chatledger/chatledger/adapters/telemetry"
)

// botsFileEvery is how often the bots file, and what it refers to, is looked at: who
// saves it does not wait longer to see what it does.
const botsFileEvery = time.Second

// glance is what the bots file was found to be at one moment.
type glance struct {
	botsFile
	wrong string
}

// lookAt reads a bots file.
func lookAt(path string) glance {
	file, err := readBotsFile(path)
	if err != nil {
		return glance{wrong: err.Error()}
	}
	return glance{botsFile: file}
}

// followBotsFile follows the bots file until ctx ends: when it, or a file with a secret
// or with orders that it names, has changed and stays the same for two looks, so that a
// save under way is not taken for a mistake, and whenever SIGHUP asks for it.
func (a *app) followBotsFile(ctx context.Context) {
	path := a.config.BotsFile
	if path == "" {
		return
	}
	told := glance{botsFile: botsFile{a.config.Bots, a.config.Server}}
	last := told
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
		now := lookAt(path)
		settled := reflect.DeepEqual(now, last)
		last = now
		if asked || settled && !reflect.DeepEqual(now, told) {
			told = now
			a.reload(ctx, now)
		}
	}
}

// reload makes the bots what a file says. One with a mistake changes nothing.
func (a *app) reload(ctx context.Context, file glance) {
	kept := func(why string) {
		a.log.Error("the bots file is not taken; what it said before goes on to count", "file", a.config.BotsFile, "mistakes", why)
	}
	if file.wrong != "" {
		kept(oneLine(file.wrong))
		return
	}
	running := a.bots.all()
	fresh := map[string]*bot{}
	for _, name := range slices.Sorted(maps.Keys(file.Bots)) {
		former := running[name]
		if former != nil && former.same(file.Bots[name]) {
			continue
		}
		b, err := a.newBot(name, file.Bots[name], former)
		if err != nil {
			kept(oneLine(telemetry.Wording(err)))
			for _, b := range fresh {
				b.wait()
			}
			return
		}
		fresh[name] = b
	}
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
		if err := a.router.Start(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("a bot's deliveries do not go out: start again", "bot", name, "error", err)
		}
		a.accompany(ctx, fresh[name])
	}
	a.log.Info("the bots file was read again", "file", a.config.BotsFile, "added", added, "changed", changed, "removed", removed)
	if !reflect.DeepEqual(file.Server, a.config.Server) {
		a.log.Warn("server: in the bots file has changed: it counts from the next start on", "file", a.config.BotsFile)
	}
}

// stampOf changes when a file does, without its being read.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return info.ModTime().String()
}
