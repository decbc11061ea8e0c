package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/chatledger/chatledger/projections"
)

// lineEvery is how far apart the lines are that show a log file's reader that a
// rebuild lives.
const lineEvery = 2 * time.Second

// barWidth leaves room beside it for the words, on a terminal of common width.
const barWidth = 32

// meter shows how far a rebuild has come: as a bar on a terminal, elsewhere as a line
// now and then.
type meter struct {
	table   string
	out     io.Writer
	bars    *mpb.Progress // nil where there is no terminal
	bar     *mpb.Bar
	said    atomic.Value // string: what stands beside the bar
	last    time.Time    // when it was last told
	line    time.Time    // when it last wrote a line
	folding time.Duration
}

func newMeter(out io.Writer, table string) *meter {
	m := &meter{table: table, out: out, last: time.Now(), line: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		m.said.Store("")
		m.bars = mpb.New(mpb.WithOutput(file), mpb.WithWidth(barWidth))
		m.bar = m.bars.AddBar(0, // told each time: it grows while customers write
			mpb.PrependDecorators(decor.Name(table+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return m.said.Load().(string) })))
	}
	return m
}

// tell is told after each page.
func (m *meter) tell(p projections.Progress) {
	text := m.text(p)
	if m.bar != nil {
		m.said.Store(text)
		if !p.Comparing {
			m.bar.SetTotal(p.Total, false)
			m.bar.SetCurrent(p.Done)
		}
	} else if time.Since(m.line) >= lineEvery {
		m.line = time.Now()
		fmt.Fprintf(m.out, "%s: %s\n", m.table, text)
	}
}

// text is the progress in words. The rate is of the time spent with folding.
func (m *meter) text(p projections.Progress) string {
	took := time.Since(m.last)
	m.last = m.last.Add(took)
	if p.Comparing {
		return fmt.Sprintf("%d rows compared", p.Done)
	}
	m.folding += took
	rate := float64(p.Done) / m.folding.Seconds()
	text := fmt.Sprintf("%d of %d events, %.0f/s", p.Done, p.Total, rate)
	if p.Done > 0 {
		text += fmt.Sprintf(", %s left", time.Duration(float64(p.Total-p.Done)/rate*float64(time.Second)).Round(time.Second))
	}
	return text
}

// end takes the bar away.
func (m *meter) end() {
	if m.bar != nil {
		m.bar.Abort(true)
		m.bars.Wait()
		fmt.Fprint(m.out, "\r\x1b[K") // what a terminal shows of Ctrl-C has moved the bar
	}
}
