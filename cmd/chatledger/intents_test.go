package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/domain/intents"
)

const shopExamples, shopTest = "../../domain/intents/testdata/shop.tsv", "../../domain/intents/testdata/shop-test.tsv"

func TestIntentsEval_TestFile_PrintsMeasures(t *testing.T) {
	t.Parallel()
	args := []string{"intents", "eval", "--train", shopExamples, "--test", shopTest, "--cache", t.TempDir()}
	for _, how := range []string{"trained", "read from the cache"} {
		code, stdout, stderr := command(t.Context(), args...)
		if code != 0 || stderr != "" {
			t.Fatalf("exit %d, stderr %q", code, stderr)
		}
		for _, line := range []string{`model +\S+: 55 examples of 5 intents, ` + how + ` in \S+, 0\.\d MB`,
			`test .*: 21 messages in scope, 6 out of scope`,
			`time .*\(p50\), .*\(p99\)`, `accuracy +\d+\.\d\d %`, `at threshold +0\.30`, `in-scope accuracy +\d+\.\d\d %`,
			`out-of-scope recall +\d+\.\d\d %`,
			`precision +\d+\.\d\d %`, `coverage +\d+\.\d\d %`, `0\.0 +\d+\.\d\d % +0\.00 % +\d+\.\d\d % +100\.00 %`,
			`confused +wanted +guessed`} {
			if !regexp.MustCompile(`(?m)^` + line).MatchString(stdout) {
				t.Errorf("nothing says %s:\n%s", line, stdout)
			}
		}
	}
}

func TestIntentsEval_Folds_ClassifiesEachOnce(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t.Context(), "intents", "eval", "--train", shopExamples, "--folds", "5")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "in 5 folds: 55 messages in scope, 0 out of scope") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if accuracy := regexp.MustCompile(`accuracy +100\.00 %`); accuracy.MatchString(stdout) {
		t.Errorf("the examples were guessed at by a model that had seen them:\n%s", stdout)
	}
	refused(t, "--folds 1: give a number from 2", "intents", "eval", "--train", shopExamples, "--folds", "1")
	refused(t, "--folds", "intents", "eval", "--train", shopExamples)
	refused(t, "--folds", "intents", "eval", "--train", shopExamples, "--folds", "5", "--test", shopTest)
}

func TestIntentsEval_LanguageAndOOS_AreHonored(t *testing.T) {
	t.Parallel()
	test := filepath.Join(t.TempDir(), "test.tsv")
	write(
		t, test,
		"order_status\twhere is my order\ten\n\nnone\twas kostet ein Pinguin\tde\r\nrefund\tGeld zurück\tde\n",
	)
	code, stdout, stderr := command(
		t.Context(), "intents", "eval", "--no-cache", "--train", shopExamples, "--test", test, "--oos",
		"none", "--language", "de", "--threshold", "0",
	)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "1 messages in scope, 1 out of scope") ||
		!strings.Contains(stdout, "at threshold         0.00") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	_, stdout, _ = command(t.Context(), "intents", "eval", "--no-cache", "--train", shopExamples, "--test", test)
	if !strings.Contains(stdout, `"none" has no example, and 1 messages`) {
		t.Errorf("an intent without an example is not named:\n%s", stdout)
	}
}

func TestIntentsTrain_Examples_WritesModel(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "shop.model")
	if code, stdout, stderr := command(t.Context(), "intents", "train", "--no-cache", "--train", shopExamples,
		"--out", out); code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var m intents.Model
	if err := m.UnmarshalBinary(data); err != nil || m.Classify("forgot my password").Intent != "login" {
		t.Errorf("%v, %v", err, m.Classify("forgot my password"))
	}
}

func TestIntents_BadExamples_NameFileAndLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ name, content, says string }{
		{"empty", "\n \n", "empty.tsv: no examples: write lines"},
		{"one", "a\tone\na\ttwo\n", "one.tsv: 1 intent in 2 examples"},
		{"columns", "a\tone\nb two\n", "columns.tsv:2: write intent, tab, message"},
		{"nameless", "a\tone\n\ttwo\n", "nameless.tsv:2: write intent, tab, message"},
		{"binary", "a\tone\n\xff\xfe\x00\n", "binary.tsv:2: not UTF-8"},
		{"long", "a\tone\na\t" + strings.Repeat("x", 1<<16) + "\n", "long.tsv:2: a line longer than 65536 bytes"},
	} {
		file := filepath.Join(dir, c.name+".tsv")
		write(t, file, c.content)
		refused(t, c.says, "intents", "train", "--no-cache", "--train", file, "--out", filepath.Join(dir, "out"))
		if c.name != "one" {
			refused(t, c.says, "intents", "eval", "--no-cache", "--train", shopExamples, "--test", file)
		}
	}
	refused(
		t, "no such file", "intents", "eval", "--no-cache", "--train", shopExamples, "--test",
		filepath.Join(dir, "none.tsv"),
	)
	refused(
		t, "no message has the language", "intents", "eval", "--no-cache", "--train", shopExamples, "--test",
		shopTest, "--language", "fr",
	)
	refused(
		t, "--threshold 1.5", "intents", "eval", "--no-cache", "--train", shopExamples, "--test", shopTest,
		"--threshold", "1.5",
	)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
