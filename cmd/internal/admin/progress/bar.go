package progress

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/chatledger/chatledger/projections/rebuild"
)

// barWidth leaves room for the words beside the bar on a terminal of common width, in columns.
const barWidth = 32

// Rebuild shows the progress of a rebuild: a bar on a terminal, elsewhere a line every
// LineEvery.
type Rebuild struct {
	table   string
	out     io.Writer
	bars    *mpb.Progress // nil where there is no terminal
	bar     *mpb.Bar
	words   atomic.Value // string: the words beside the bar
	updated time.Time    // when Show was last called
	lined   time.Time    // when the last line was printed
	folding time.Duration
}

// NewRebuild shows the progress of rebuilding a table.
func NewRebuild(out io.Writer, table string) *Rebuild {
	r := &Rebuild{table: table, out: out, updated: time.Now(), lined: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		r.words.Store("")
		r.bars = mpb.New(mpb.WithOutput(file), mpb.WithWidth(barWidth))
		r.bar = r.bars.AddBar(0, // Show sets the total each time: it grows while customers write
			mpb.PrependDecorators(decor.Name(table+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return r.words.Load().(string) })))
	}
	return r
}

// Show shows the progress after a page.
func (r *Rebuild) Show(p rebuild.Progress) {
	text := r.text(p)
	if r.bar != nil {
		r.words.Store(text)
		if !p.Comparing {
			r.bar.SetTotal(p.Total, false)
			r.bar.SetCurrent(p.Done)
		}
	} else if time.Since(r.lined) >= LineEvery {
		r.lined = time.Now()
		fmt.Fprintf(r.out, "%s: %s\n", r.table, text)
	}
}

// text puts the progress in words. The rate counts only the time spent on folding.
func (r *Rebuild) text(p rebuild.Progress) string {
	took := time.Since(r.updated)
	r.updated = r.updated.Add(took)
	if p.Comparing {
		return fmt.Sprintf("%d rows compared", p.Done)
	}
	r.folding += took
	rate := float64(p.Done) / r.folding.Seconds()
	text := fmt.Sprintf("%d of %d events, %.0f/s", p.Done, p.Total, rate)
	if p.Done > 0 {
		left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// End removes the bar.
func (r *Rebuild) End() {
	if r.bar != nil {
		r.bar.Abort(true)
		r.bars.Wait()
		fmt.Fprint(r.out, "\r\x1b[K") // a terminal's echo of Ctrl-C has moved the bar
	}
}
