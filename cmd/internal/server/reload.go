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

// botsFileEvery is how often the bots file and the files it names are read: a change takes effect
// while its author still looks.
const botsFileEvery = time.Second

// tryEvery is how often a rejected bots file is tried again: what it refers to may have been
// mended without a change of the file.
const tryEvery = 5 * time.Second

// reading is the bots file as read at one moment. Wrong is its mistake.
type reading struct {
	config.File
	Wrong string
}

// LookAt reads a bots file.
func LookAt(path string) reading {
	file, err := config.ReadToServe(path)
	if err != nil {
		return reading{Wrong: err.Error()}
	}
	return reading{File: file}
}

func (g reading) same(other reading) bool {
	return g.Wrong == other.Wrong && g.File.Same(other.File)
}

// followBotsFile reloads the bots file until ctx ends: on SIGHUP, and when it or a file with a
// secret or with orders that it names has changed. A change counts when two readings agree, so
// that a file that is being saved is not rejected.
func (s *Server) followBotsFile(ctx context.Context) {
	path := s.config.BotsFile
	if path == "" {
		return
	}
	told := reading{File: config.File{Bots: s.config.Bots, Server: s.config.Server}}
	last := told
	refused, tried := "", time.Time{}
	tick := time.NewTicker(botsFileEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-s.config.Hangup:
			asked = true
			config.RunCommandsAgain()
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
		if err := s.reload(ctx, now); err != nil {
			why = telemetry.OneLine(telemetry.Wording(err))
		}
		switch {
		case why != "" && (news || why != refused):
			s.log.Error("bots file rejected; keeping the previous settings", "file", path, "mistakes", why)
		case why == "" && refused != "":
			s.log.Warn("bots file accepted again", "file", path) // ends the error above
		}
		s.metrics.BotsFile(why == "")
		told, refused, tried = now, why, time.Now()
	}
}

// reload applies a bots file to the bots and the server. A file with a mistake changes nothing.
func (s *Server) reload(ctx context.Context, file reading) error {
	if file.Wrong != "" {
		return errors.New(file.Wrong)
	}
	fresh, err := s.rebuild(file.File)
	server, later := s.config.Server.WithinReach(file.Server)
	if err == nil {
		if err = s.applySettings(server); err != nil {
			err = file.Mistake("server: ", err, "server")
		}
	}
	if err != nil {
		for _, b := range fresh {
			b.wait()
		}
		return err
	}
	applied := config.Differing("", s.config.Server, server)
	s.config.Server = server

	running := s.Bots.All()
	var added, changed, removed []string
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if _, stays := file.Bots[name]; !stays {
			removed = append(removed, name)
			s.removeBot(running[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		if former := running[name]; former != nil {
			changed = append(changed, name)
			s.stopBot(former) // its updates continue to be received
		} else {
			added = append(added, name)
		}
		s.addBot(fresh[name])
		if s.config.Only.works() {
			if err := s.Router.Start(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("cannot start a bot's deliveries: restart serve", "bot", name, "error", err)
			}
		}
		s.runBot(ctx, fresh[name])
	}
	select {
	case s.retentionChanged <- struct{}{}:
	default: // a pass is due already
	}
	s.log.Info("bots file reloaded", "file", s.config.BotsFile,
		"added", added, "changed", changed, "removed", removed, "server", applied)
	if len(later) > 0 {
		s.log.Warn("restart serve to apply these server settings of the bots file",
			"file", s.config.BotsFile, "settings", later)
	}
	return nil
}

// rebuild builds the bots of a file that are new or have changed. With an error, it returns those
// that it has built, for the caller to close.
func (s *Server) rebuild(file config.File) (map[string]*bot, error) {
	running, fresh := s.Bots.All(), map[string]*bot{}
	for _, name := range slices.Sorted(maps.Keys(file.Bots)) {
		former := running[name]
		if former != nil && former.same(file.Bots[name]) {
			continue
		}
		b, err := s.factory.build(name, file.Bots[name], former)
		if err != nil {
			return fresh, file.Mistake("bot "+name+": ", err, "bots", name)
		}
		fresh[name] = b
	}
	return fresh, nil
}
