package telegramsim

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// pageTimeout bounds a test in the browser, which takes seconds to start on a busy machine.
const pageTimeout = 2 * time.Minute

// operatorSince says that an operator handles chat 101 since an hour before the start, and wrote message 3.
type operatorSince struct{}

func (operatorSince) Handler(_ context.Context, _ string, chat int64, since time.Time) (Handler, error) {
	if chat != 101 {
		return Handler{Name: "bot"}, nil
	}
	return Handler{
		Name: "person", Since: since.Add(-time.Hour), Assignee: "maria", Authors: map[int64]string{3: "Maria"},
		Events:  "bin/chatledger events --stream demo:101",
		Comment: "curl -X POST 127.0.0.1:8083/fake/tickets/7/comments",
	}, nil
}

// browser opens a page in Chromium. Without Chromium the test is skipped.
func browser(t *testing.T, url string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: on Debian, apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("hide-scrollbars", false))
	ctx, cancel := context.WithTimeout(t.Context(), pageTimeout) // of the whole browser
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	act(t, ctx, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(url))
	return ctx
}

func act(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// becomes waits until a script returns true in the page.
func becomes(t *testing.T, ctx context.Context, script string) {
	t.Helper()
	waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := chromedp.Run(waiting, chromedp.Poll[bool](script)); err != nil {
		page, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		t.Fatalf("%s: %v, in\n%s", script, err, page)
	}
}

// The page shows who handles a chat, pressed buttons, updates that were not delivered, and the tour.
func TestPage_Browser_ShowsWhatHappens(t *testing.T) {
	s := New(Options{Bots: []Bot{{Token: "7:x", Username: "demo_bot", Name: "demo"}}, Handlers: operatorSince{}})
	server := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); server.CloseClientConnections(); server.Close() })
	b := s.bots[0]
	send := func(chat, text, markup string) {
		b.call(t.Context(), "sendmessage", params{"chat_id": chat, "text": text, "reply_markup": markup})
	}
	s.Say(101, "Where is my order 1001?")
	send("101", "See https://shop.example.com/orders/1001. Is that right?",
		`{"inline_keyboard":[[{"text":"Yes","callback_data":"yes"},`+
			`{"text":"No, it is not what I meant","callback_data":"no"}]]}`)
	send("101", "Hi, this is Maria.", "")
	for range 12 {
		s.Say(-5, "A message of a group, long enough to take more than one line at the width of a phone.")
	}
	ctx := browser(t, server.URL+"/?tour")
	shots(t, ctx, "start")

	becomes(t, ctx, `document.querySelector(".has.bad")?.textContent.includes("no webhook")`)
	dead := httptest.NewServer(nil)
	dead.Close()
	b.call(t.Context(), "setwebhook", params{"url": dead.URL})
	becomes(t, ctx, `document.querySelector(".has")?.textContent.includes("Connection refused")`)
	shots(t, ctx, "failed")
	b.call(t.Context(), "setwebhook", params{"url": "", "drop_pending_updates": "true"})
	becomes(t, ctx, `document.querySelector(".has.person")?.textContent.startsWith("maria has this chat since")`)
	becomes(t, ctx, `document.querySelector(".has.person").textContent.includes("before the last restart")`)
	becomes(t, ctx, `document.querySelector(".row.person .name")?.textContent === "Maria"`)
	becomes(t, ctx, `document.querySelector(".bubble a").href === "https://shop.example.com/orders/1001"`)

	// A button is as wide as its text. Its answer is shown below it, and it stays pressed.
	becomes(t, ctx, `document.querySelector(".key").offsetWidth < 80`)
	act(t, ctx, chromedp.Click(chromedp.CSS(".key")))
	becomes(t, ctx, `document.querySelector(".key.used:disabled")?.textContent === "✓ Yes"`)
	b.mu.Lock()
	query := b.pressOrder[0]
	b.mu.Unlock()
	b.call(t.Context(), "answercallbackquery", params{"callback_query_id": query, "text": "Saved"})
	becomes(t, ctx, `document.querySelector(".row:has(.key) .toast")?.textContent === "Saved"`)
	shots(t, ctx, "pressed")
	send("101", "Done.", "")
	becomes(t, ctx, `!document.querySelector(".toast")`)

	becomes(t, ctx, `document.getElementById("tour-title").textContent === "1 of 5: Ask"`)
	act(t, ctx, chromedp.Click(chromedp.CSS("#tour-do")))
	becomes(t, ctx, `document.querySelectorAll(".row.user").length === 2`)
	for range 3 {
		act(t, ctx, chromedp.Click(chromedp.CSS("#tour-next")))
	}
	becomes(t, ctx, `document.getElementById("tour-code").textContent.includes("/fake/tickets/7/comments")`)
	shots(t, ctx, "tour")
	act(t, ctx, chromedp.Click(chromedp.CSS("#tour-next")))
	becomes(t, ctx, `document.getElementById("tour-code").textContent.includes("events --stream")`)

	act(t, ctx, chromedp.EmulateViewport(390, 844))
	becomes(t, ctx, `getComputedStyle(document.querySelector(".bubble time")).fontSize === "12px"`)
	small, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("button, .draft, a.key")]
		.filter((e) => e.offsetParent && (e.offsetHeight < 44)).map((e) => e.outerHTML.slice(0, 80))`))
	if err != nil {
		t.Fatal(err)
	}
	if len(small) > 0 {
		t.Errorf("below 44 px at phone width:\n%s", strings.Join(small, "\n"))
	}
	act(t, ctx, chromedp.Evaluate[chromedp.Void](`for (const id of [103, 104, 105]) openChat(id)`),
		chromedp.EmulateViewport(1280, 800))
	becomes(t, ctx, `byID("chats").scrollWidth > byID("chats").clientWidth`)
	shots(t, ctx, "five")

	// The last line of a long draft is free of the border.
	act(t, ctx, chromedp.Evaluate[chromedp.Void](`document.querySelector(".compose textarea").focus();
		document.execCommand("insertText", false, "A line of a long draft\n".repeat(11) + "its last line")`))
	becomes(t, ctx, `((draft, text) => text.scrollHeight > text.clientHeight && text.clientHeight % 21 === 0 &&
		draft.getBoundingClientRect().bottom - text.getBoundingClientRect().bottom >= 8)(
		document.querySelector(".draft"), document.querySelector(".draft textarea"))`)
	shots(t, ctx, "draft")
}

// shots stores screenshots of the page in the folder CHATLEDGER_TEST_SHOTS, for review by eye.
func shots(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("CHATLEDGER_TEST_SHOTS")
	if folder == "" {
		return
	}
	for _, theme := range []string{"light", "dark"} {
		for size, width := range map[string]int64{"1280": 1280, "768": 768, "390": 390} {
			scheme := func(ctx context.Context, on *chromedp.Target) (chromedp.Void, error) {
				_, err := cdp.Call(ctx, on, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
				})
				return chromedp.Void{}, err
			}
			act(t, ctx, scheme, chromedp.EmulateViewport(width, 800), chromedp.Sleep(300*time.Millisecond))
			png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, name+"-"+size+"-"+theme+".png"), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	act(t, ctx, chromedp.EmulateViewport(1280, 800))
}
