package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/wait"
)

// measure records lag and memory until ctx ends.
func (s *soak) measure(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	wait.Every(ctx, soakLook, func() {
		behind, err := s.behind(ctx, &conn)
		at := time.Now() // it is what was found now, perhaps because of a fault meanwhile
		half := 0
		if at.Sub(s.begun) > s.For/2 {
			half = 1
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lags = append(s.lags, lag{at, behind, err != nil})
		for _, one := range s.sides {
			one.mu.Lock()
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", one.command.Process.Pid))
			one.mu.Unlock()
			if now := vmRSS.FindSubmatch(status); err == nil && now != nil {
				kib, _ := strconv.ParseFloat(string(now[1]), 64) // it is digits
				s.memory[half] = append(s.memory[half], kib/1024)
			}
		}
	})
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// behind returns how long the oldest event has waited that one of the groups has not handled.
func (s *soak) behind(ctx context.Context, conn **pgx.Conn) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, soakLag)
	defer cancel()
	if *conn == nil || (*conn).IsClosed() {
		var err error
		if *conn, err = pgx.Connect(ctx, s.dsn); err != nil {
			return 0, err
		}
	}
	var seconds float64
	err := (*conn).QueryRow(ctx, `
		select coalesce(max(extract(epoch from clock_timestamp() - first.recorded_at)), 0)::float8
		from eventstore.checkpoints c, lateral (
			select e.recorded_at from eventstore.events e
			where (e.transaction_id, e.position) > (c.transaction_id, c.position)
			order by e.transaction_id, e.position limit 1
		) first`).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}

// report prints the results, and fails when a promise was broken.
func (s *soak) report(ctx context.Context, total int, rest error) (benchResult, error) {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return benchResult{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var stored, distinct, turns, unsure, unknown int
	if err := conn.QueryRow(ctx, `
		select count(*) filter (where name = 'message_received'),
			count(distinct payload ->> 'update_id') filter (where name = 'message_received'),
			count(*) filter (where name = 'understood'),
			(select count(*) from eventstore.deliveries where unsure > 0),
			(select count(*) from eventstore.deliveries where state <> 'done')
		from eventstore.events`).Scan(&stored, &distinct, &turns, &unsure, &unknown); err != nil {
		return benchResult{}, err
	}
	verify := s.child(ctx, s.dsn, "verify")
	verified, verifyErr := verify.Output()
	never, more := 0, 0
	for _, n := range s.heard {
		if n == 0 {
			never++
		} else if n > 1 {
			more++
		}
	}
	broken := []error{rest}
	promise := func(kept bool, format string, args ...any) {
		if !kept {
			broken = append(broken, fmt.Errorf(format, args...))
		}
	}
	slices.Sort(s.times)
	slices.Sort(s.waited)
	table := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(table, "soak: %s at %d updates/s, two processes\n", s.For, soakRate)
	row(
		"updates", "%d acknowledged, %d stored, %d twice; %d attempts were not acknowledged and came again",
		len(s.times), distinct, stored-distinct, s.again.Load(),
	)
	row(
		"webhook", "p50 %.3g ms, p99 %.4g ms, longest %.4g ms, all attempts together",
		percentile(s.times, .5), percentile(s.times, .99), percentile(s.times, 1),
	)
	row(
		"answers",
		"p50 %.3g ms, p99 %.4g ms, longest %.4g ms; %d heard twice, %d attempts were unsure, %d never heard",
		percentile(s.waited, .5), percentile(s.waited, .99), percentile(s.waited, 1), more, unsure, never,
	)
	promise(
		len(s.times) == total && distinct == total && stored == total,
		"of %d updates %d were acknowledged, %d are stored, %d of them twice", total, len(s.times), distinct,
		stored-distinct,
	)
	promise(turns == total, "the bot took %d turns for %d updates", turns, total)
	promise(never <= unknown, "%d answers were never heard, and %d are known to be missing", never, unknown)
	promise(more <= unsure, "%d answers were heard twice, and only %d attempts were unsure", more, unsure)
	back := map[string][]time.Duration{}
	for i, f := range s.faults {
		until := s.lags[len(s.lags)-1].at
		if i+1 < len(s.faults) {
			until = s.faults[i+1].at
		}
		back[f.what] = append(back[f.what], s.back(f.at, until))
	}
	worst := time.Duration(0)
	for _, what := range slices.Sorted(maps.Keys(back)) {
		longest := slices.Max(back[what])
		worst = max(worst, longest)
		row(what, "%d times; lag below %s again after %.2g s at the longest", len(back[what]), soakLag,
			longest.Seconds())
		promise(longest <= soakBack, "%s: lag was above %s for %.3g s", what, soakLag, longest.Seconds())
	}
	first, second := slices.Sorted(slices.Values(s.memory[0])), slices.Sorted(slices.Values(s.memory[1]))
	before, after, peak := first[len(first)/2], second[len(second)/2], max(first[len(first)-1], second[len(second)-1])
	row(
		"memory",
		"a process has %.4g MiB in the median of the first half, %.4g MiB of the second, %.4g MiB at most",
		before, after, peak,
	)
	promise(
		after <= before*soakGrowth && peak <= soakMemory,
		"memory grew from %.4g to %.4g MiB, and was %.4g MiB at most", before, after, peak,
	)
	promise(verifyErr == nil, "verify: %s %w", bytes.TrimSpace(verified), verifyErr)
	for line := range bytes.Lines(verified) {
		row("verify", "%s", bytes.TrimSpace(line))
	}
	if err := table.Flush(); err != nil {
		return benchResult{}, err
	}
	result := benchResult{Value: worst.Seconds(), Unit: "s", Notes: map[string]float64{"updates": float64(stored)}}
	return result, errors.Join(broken...)
}

// back is how long after a fault the lag was last above the limit, before the next fault.
func (s *soak) back(at, until time.Time) (after time.Duration) {
	for _, l := range s.lags {
		if l.at.After(at) && l.at.Before(until) && (l.unknown || l.lag > soakLag) {
			after = l.at.Sub(at)
		}
	}
	return after
}
