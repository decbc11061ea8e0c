package knowledge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/intents"
)

// examples returns a few examples, which differ between variants.
func examples(variant int) []intents.Example {
	return []intents.Example{
		{Intent: "order", Text: "where is my order"},
		{Intent: "order", Text: "has my parcel come"},
		{Intent: "order", Text: fmt.Sprint("order ", variant)},
		{Intent: "refund", Text: "give me my money back"},
		{Intent: "refund", Text: "I want a refund"},
	}
}

// train fails the test unless Train returns a working model.
func train(t *testing.T, s Models, variant int) (cached bool) {
	t.Helper()
	m, cached, err := s.Train(examples(variant))
	if err != nil {
		t.Fatal(err)
	}
	if g := m.Classify("a refund please"); g.Intent != "refund" {
		t.Errorf("the model guesses %v", g)
	}
	return cached
}

func models(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+modelSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestModels_SameExamples_TrainedOnce(t *testing.T) {
	t.Parallel()
	s := Models{filepath.Join(t.TempDir(), "new", "folder")}
	if train(t, s, 1) || !train(t, s, 1) {
		t.Error("want the model trained the first time and read from the folder the second time")
	}
	if train(t, s, 2) {
		t.Error("the model of other examples was read from the folder")
	}
	for range 2 {
		if train(t, Models{}, 1) {
			t.Error("without a folder, a model was stored")
		}
	}
}

func TestModels_Name_DependsOnBoundaries(t *testing.T) {
	t.Parallel()
	a := contentOf([]intents.Example{{Intent: "ab", Text: "c"}})
	if b := contentOf([]intents.Example{{Intent: "a", Text: "bc"}}); a == b {
		t.Error("the boundary between intent and text does not change the name")
	}
}

func TestModels_DamagedFile_TrainedAgain(t *testing.T) {
	t.Parallel()
	s := Models{t.TempDir()}
	train(t, s, 1)
	file := models(t, s.Dir)[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{nil, []byte("rubbish"), whole[:len(whole)/2]} {
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if train(t, s, 1) {
			t.Errorf("a damaged file of %d bytes was read as a model", len(damaged))
		}
		if !train(t, s, 1) {
			t.Error("the new model was not stored")
		}
	}
}

func TestModels_ReadOnlyFolder_StillTrains(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, cached, err := Models{filepath.Join(file, "below")}.Train(examples(1))
	if err == nil || !strings.Contains(err.Error(), "store the model in "+file) || cached {
		t.Errorf("cached %v, %v", cached, err)
	}
	if m == nil || m.Classify("refund").Intent != "refund" {
		t.Error("Train returned no working model")
	}
}

func TestModels_SharedFolder_EachStoredOnce(t *testing.T) {
	t.Parallel()
	s := Models{t.TempDir()}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() { train(t, s, i%3) })
	}
	all.Wait()
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("want 3 models; the folder holds %v (%v)", entries, err)
	}
	for variant := range 3 {
		if !train(t, s, variant) {
			t.Errorf("model %d was not stored", variant)
		}
	}
}

func TestModels_FullFolder_KeepsLastUsed(t *testing.T) {
	t.Parallel()
	s := Models{t.TempDir()}
	long := time.Now().Add(-2 * unfinishedFor)
	left := filepath.Join(s.Dir, unfinishedPrefix+"1")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for variant := range modelsKept {
		train(t, s, variant)
	}
	for _, file := range append(models(t, s.Dir), left) {
		if err := os.Chtimes(file, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if !train(t, s, 0) { // marks it as used
		t.Fatal("the first model is gone")
	}
	train(t, s, modelsKept)
	if n := len(models(t, s.Dir)); n != modelsKept {
		t.Errorf("%d models are kept, want %d", n, modelsKept)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the unfinished file of a crash was not removed")
	}
	if !train(t, s, 0) || !train(t, s, modelsKept) {
		t.Error("a model that was just used is gone")
	}
}
