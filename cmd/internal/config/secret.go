package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Secrets are given as they are or by reference. A reference is followed each time the bots file is
// read, so that a rotated secret is used without a restart.

// Resolve follows env:NAME, file:PATH and command:PROGRAM ARGUMENTS.
func Resolve(value string) (string, error) {
	if name, ok := strings.CutPrefix(value, "env:"); ok {
		found, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("the environment has no %s", name)
		}
		return found, nil
	}
	if path, ok := strings.CutPrefix(value, "file:"); ok {
		text, err := readSmall(path)
		found := strings.TrimSpace(string(text))
		if err == nil && found == "" {
			err = fmt.Errorf("%s is empty: write the value into it", path)
		}
		return found, err
	}
	if line, ok := strings.CutPrefix(value, "command:"); ok {
		return commandLines.of(line)
	}
	return value, nil
}

// source says where a value comes from, but not the value. Of a command it names the program only.
func source(value string) string {
	line, command := strings.CutPrefix(value, "command:")
	switch {
	case value == "":
		return "none"
	case command:
		program, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		return "set (command:" + program + ")"
	case strings.HasPrefix(value, "env:"), strings.HasPrefix(value, "file:"):
		return "set (" + value + ")"
	}
	return "set (in the bots file)"
}

const (
	// commandEvery is how long the value of a command is used before the command is run again: the bots
	// file is read every second, and a secret store should not be asked as often.
	commandEvery = time.Minute
	// commandRetry is the same for a command that failed.
	commandRetry = 5 * time.Second
	// commandTimeout bounds one run. A secret store answers within a second.
	commandTimeout = 10 * time.Second
	// commandPipes bounds the wait for children that a killed command leaves behind.
	commandPipes = time.Second
)

// commandLines are the values of the commands of this process.
var commandLines = commandValues{now: time.Now}

// RunCommandsAgain makes the next reading of a bots file run all commands.
func RunCommandsAgain() { commandLines.forget() }

// commandValues remembers what commands printed.
type commandValues struct {
	now     func() time.Time
	timeout time.Duration // 0 means commandTimeout

	mu    sync.Mutex // held while a command runs: one at a time
	known map[string]commandValue
}

type commandValue struct {
	value string
	err   error
	until time.Time
}

// of returns what a command printed, and runs it if its value is unknown or old.
func (c *commandValues) of(line string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[line]; ok && c.now().Before(known.until) {
		return known.value, known.err
	}
	value, err := c.run(line)
	lasts := commandEvery
	if err != nil {
		lasts = commandRetry
	}
	if c.known == nil {
		c.known = map[string]commandValue{}
	}
	c.known[line] = commandValue{value, err, c.now().Add(lasts)}
	return value, err
}

func (c *commandValues) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}

// run runs a program without a shell. Its error quotes neither the arguments nor what was printed,
// which may be secret.
func (c *commandValues) run(line string) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", errors.New("command: name a program, with its arguments after it")
	}
	timeout := cmp.Or(c.timeout, commandTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var printed limited
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Stdout, command.WaitDelay = &printed, commandPipes
	err := command.Run()
	value := strings.TrimSpace(printed.text.String())
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("command %s did not end within %v: run it by hand", words[0], timeout)
	case printed.full:
		return "", fmt.Errorf("command %s printed more than %d MiB: check that it is the right one", words[0], MaxFile>>20)
	case err != nil:
		return "", fmt.Errorf("command %s: %w: run it by hand as the user that runs chatledger", words[0], Advise(err))
	case value == "":
		return "", fmt.Errorf("command %s printed nothing: it must print the value", words[0])
	}
	return value, nil
}

// limited keeps MaxFile bytes. With more, its writer gets an error.
type limited struct {
	text bytes.Buffer
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.text.Len()+len(p) > MaxFile {
		l.full = true
		return 0, errors.New("full")
	}
	return l.text.Write(p)
}
