package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/adapters/certificates/certtest"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
)

// besieged is a chatledger process with TLS, behind a proxy through which all attacks come, so that each
// can have a source of its own.
type besieged struct {
	*world
	*program
	address string
	tls     *tls.Config
	client  *http.Client // that looks at the costs, over one connection
	source  atomic.Int64 // the last address that was given out
	worst   cost
}

// cost is what the server uses at a moment.
type cost struct {
	connections, goroutines, files int
	memory                         int // resident, MiB
}

const (
	// allConnections is the server's limit of connections.
	allConnections = 400
	// maxGrowth is how much more memory the server may use at any time, in MiB: twice what was measured. The
	// race detector needs up to ten times as much.
	maxGrowth, maxRaceGrowth = 80, 800
)

func newBesieged(t *testing.T) *besieged {
	w := newTown(t, pgtest.Database(t))
	pair, files := certtest.Year(t, "example.com"), certtest.NewFiles(t)
	files.Write(t, pair)
	b := &besieged{world: w, tls: &tls.Config{RootCAs: pair.Roots(), ServerName: "example.com"}}
	b.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: b.tls, MaxConnsPerHost: 1}}
	t.Cleanup(b.client.CloseIdleConnections)
	b.program = w.serveWith(fmt.Sprintf(
		"bots: {demo: {token: %q, secret: %s, orders: demo, chat_limit: {count: 0}}}\n"+
			"server: {allow: [telegram, 203.0.113.0/24, 198.51.0.0/16], trusted_proxies: 127.0.0.1, connections: %d, "+
			"tls: {certificate: %s, key: %s}}\n",
		dev.Token, dev.Secret, allConnections, files.Certificate, files.Key), b.get)
	b.address = strings.TrimPrefix(b.program.url, "https://")
	return b
}

func (b *besieged) get(url string) (status int, body string, err error) {
	answer, err := b.client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// measure reads the server's own metrics.
func (b *besieged) measure() cost {
	b.t.Helper()
	_, metrics, err := b.get(b.program.url + "/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	read := func(name string) int {
		found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
		if found == nil {
			b.t.Fatalf("no metric %s", name)
		}
		value, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			b.t.Fatal(err)
		}
		return int(value)
	}
	c := cost{
		read("chatledger_connections") - 1, read("go_goroutines"), read("process_open_fds"),
		read("process_resident_memory_bytes") >> 20,
	}
	b.worst.connections, b.worst.memory = max(b.worst.connections, c.connections), max(b.worst.memory, c.memory)
	return c
}

// dial opens a connection; an error of the handshake is returned by the first read.
func (b *besieged) dial() *tls.Conn {
	b.t.Helper()
	plain, err := net.DialTimeout("tcp", b.address, patience)
	if err != nil {
		b.t.Fatal(err)
	}
	plain.SetDeadline(time.Now().Add(patience))
	return tls.Client(plain, b.tls)
}

// newSource returns an address that was not used before.
func (b *besieged) newSource() string {
	n := b.source.Add(1)
	return fmt.Sprintf("198.51.%d.%d", n>>8, n&255)
}

// head returns the beginning of an update's request; the header is not ended.
func head(source, secret string, more ...string) string {
	lines := []string{
		"POST /webhook/demo HTTP/1.1", "Host: example.com", "Content-Type: application/json",
		"X-Forwarded-For: " + source,
	}
	if secret != "" {
		lines = append(lines, "X-Telegram-Bot-Api-Secret-Token: "+secret)
	}
	return strings.Join(append(lines, more...), "\r\n") + "\r\n"
}

// probe is a request that follows an attack on its connection: an answer shows that the connection is
// still open, and how much of the attack was taken for a request.
const probe = "GET /healthz HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"

// send writes an attack and the probe, and returns the statuses of the answers.
func (b *besieged) send(attack io.Reader) string {
	b.t.Helper()
	conn := b.dial()
	defer conn.Close()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		if _, err := io.Copy(conn, attack); err == nil {
			io.WriteString(conn, probe)
		}
	}()
	answers := statuses(conn)
	conn.NetConn().Close()
	<-wrote
	return answers
}

// statuses reads answers until the connection ends: "401 x 3, 200".
func statuses(conn io.Reader) string {
	var found []string
	counts := map[string]int{}
	for reader := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			break
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			break
		}
		status := strconv.Itoa(answer.StatusCode)
		if counts[status]++; counts[status] == 1 {
			found = append(found, status)
		}
	}
	for i, status := range found {
		if n := counts[status]; n > 1 {
			found[i] = fmt.Sprintf("%s x %d", status, n)
		}
	}
	if found == nil {
		return "closed"
	}
	return strings.Join(found, ", ")
}

// forever repeats a text until the reader stops.
type forever struct {
	text string
	rest []byte
}

func (f *forever) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		f.rest = []byte(f.text)
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// attack is one attack with the answer that the server must give.
type attack struct {
	name string
	do   func(b *besieged) string
	want string
}

// requests returns an attack that is a text, from a source of its own.
func requests(name, want string, text func(source string) string) attack {
	return attack{name, func(b *besieged) string { return b.send(strings.NewReader(text(b.newSource()))) }, want}
}

// shapes returns an attack by header lines with the right secret, before a short body.
func shapes(name, want string, lines ...string) attack {
	return requests(name, want,
		func(source string) string { return head(source, dev.Secret, lines...) + "\r\n5\r\nhello\r\n0\r\n\r\n" })
}

// attacks lists all attacks. A 200 at the end answers the probe: the connection stayed open.
var attacks = []attack{
	requests("no secret", "401, 200", func(s string) string { return head(s, "", "Content-Length: 2") + "\r\n{}" }),
	requests("a wrong secret", "401, 200",
		func(s string) string { return head(s, "guess", "Content-Length: 2") + "\r\n{}" }),
	requests("an empty secret", "401, 200", func(s string) string {
		return head(s, "", "X-Telegram-Bot-Api-Secret-Token:", "Content-Length: 2") + "\r\n{}"
	}),
	requests("two secrets, one right", "401, 200", func(s string) string {
		return head(s, dev.Secret, "X-Telegram-Bot-Api-Secret-Token: guess", "Content-Length: 2") + "\r\n{}"
	}),
	requests("a secret of 10 KiB", "401, 200",
		func(s string) string { return head(s, strings.Repeat("a", 10<<10), "Content-Length: 2") + "\r\n{}" }),
	requests("wrong methods", "405 x 5, 200", func(s string) string {
		var all string
		for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "TRACE"} {
			all += strings.Replace(head(s, dev.Secret), "POST", method, 1) + "\r\n"
		}
		return all
	}),
	requests("wrong paths", "404 x 3, 301 x 2, 200", func(s string) string {
		var all string
		for _, path := range []string{"/webhook/nobody", "/webhook/", "/.env", "/webhook/demo%2f..",
			"/webhook/../webhook/demo"} {
			all += strings.Replace(head(s, dev.Secret), "/webhook/demo", path, 1) + "\r\n"
		}
		return all
	}),
	requests("an address that is not allowed", "403",
		func(string) string { return head("192.0.2.1", dev.Secret, "Content-Length: 2") + "\r\n{}" }),
	requests("a forged X-Forwarded-For", "403", func(string) string {
		return head("149.154.160.1, 192.0.2.2", dev.Secret, "Content-Length: 2") + "\r\n{}"
	}),
	requests("a flood of headers", "431",
		func(s string) string { return head(s, dev.Secret) + strings.Repeat("X-A: b\r\n", 100_000) }),
	requests("one endless header", "431",
		func(s string) string { return head(s, dev.Secret) + "X-A: " + strings.Repeat("b", 1<<20) }),
	requests("an endless path", "431", func(s string) string { return "GET /" + strings.Repeat("a", 1<<20) }),
	requests("a body of 2 MiB", "413", func(s string) string {
		return head(s, dev.Secret, fmt.Sprint("Content-Length: ", 2<<20)) + "\r\n" + strings.Repeat(" ", 2<<20)
	}),
	requests("a body of 1 TiB without the secret", "401",
		func(s string) string { return head(s, "guess", fmt.Sprint("Content-Length: ", 1<<40)) + "\r\n" }),
	{"chunks for ever", func(b *besieged) string {
		return b.send(io.MultiReader(strings.NewReader(head(b.newSource(), dev.Secret, "Transfer-Encoding: chunked")+"\r\n"),
			&forever{text: "400\r\n" + strings.Repeat(" ", 0x400) + "\r\n"}))
	}, "413"},
	{"tiny chunks with long extensions", func(b *besieged) string {
		return b.send(io.MultiReader(strings.NewReader(head(b.newSource(), dev.Secret, "Transfer-Encoding: chunked")+"\r\n"),
			&forever{text: "1;" + strings.Repeat("e", 2000) + "\r\n \r\n"}))
	}, "400"},
	requests("JSON 500,000 arrays deep", "200 x 2", func(s string) string {
		return head(s, dev.Secret, "Content-Length: 500000") + "\r\n" + strings.Repeat("[", 500_000)
	}),
	requests("JSON 9,000 arrays deep", "200 x 2", func(s string) string {
		body := `{"update_id":1,"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}"
		return head(s, dev.Secret, fmt.Sprint("Content-Length: ", len(body))) + "\r\n" + body
	}),
	shapes("chunks and a length, so that a request could hide behind", "200", "Content-Length: 5",
		"Transfer-Encoding: chunked"),
	shapes("two lengths", "400", "Content-Length: 15", "Content-Length: 5"),
	shapes("a length with a sign", "400", "Content-Length: +15"),
	shapes("a list of lengths", "400", "Content-Length: 15, 15"),
	shapes("chunks under another name", "501", "Transfer-Encoding: xchunked"),
	shapes("chunks twice", "501", "Transfer-Encoding: chunked, chunked"),
	shapes("chunks by two lines", "501", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
	shapes("a space before the colon", "400", "Content-Length : 15"),
	shapes("a folded line", "501", "Transfer-Encoding:\r\n chunked\r\n\tidentity"),
	shapes("a NUL in a header", "400", "X-A: \x00"),
	shapes("two hosts", "400", "Host: other.example.com", "Content-Length: 15"),
	shapes("no colon", "400", "Content-Length"),
	requests("the preface of HTTP/2", "301", func(string) string { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }),
	requests("no HTTP at all", "400", func(string) string { return "\x16\x03\x01 hello\r\n\r\n" }),
	requests("1,000 requests in one packet", "401 x 20, 429 x 980, 200", func(s string) string {
		return strings.Repeat(head(s, "guess", "Content-Length: 2")+"\r\n{}", 1000)
	}),
	requests("forged addresses before one's own, 40 times", "401 x 20, 429 x 20, 200", func(s string) string {
		var all string
		for i := range 40 {
			all += head(fmt.Sprintf("203.0.113.%d, %s", i, s), "guess", "Content-Length: 2") + "\r\n{}"
		}
		return all
	}),
	{"5,000 wrong secrets, 20 at a time, and right ones from the same address", (*besieged).burst,
		"wrong 401 x 20, 429 x 4980; right 200 x 100"},
	{"500 times rubbish instead of TLS", (*besieged).rubbish, "closed x 500"},
	{"HTTP instead of TLS", func(b *besieged) string {
		conn := b.dial()
		defer conn.Close()
		io.WriteString(conn.NetConn(), head("1.2.3.4", dev.Secret)+"\r\n")
		return statuses(conn.NetConn())
	}, "400"},
	{"290 slow and silent connections at once, and right requests beside them", (*besieged).slow,
		"nothing: closed x 100; half a handshake: closed x 50; header byte by byte: 400 x 60; " +
			"body byte by byte: 400 x 40; the same without the secret: 401 x 40; right 200 x 20"},
	{"500 connections where 400 may be", (*besieged).crowd, "400 are served, 100 closed"},
}

// burst guesses secrets, from an address that Telegram's requests also come from.
func (b *besieged) burst() string {
	source := b.newSource()
	transport := &http.Transport{TLSClientConfig: b.tls, MaxConnsPerHost: 20, MaxIdleConnsPerHost: 20}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	ask := func(secret string, id int) string {
		r, err := http.NewRequest(http.MethodPost, b.program.url+"/webhook/demo",
			strings.NewReader(messageUpdate(int64(10_000+id), 7, int64(10+id), "hello")))
		if err != nil {
			return err.Error()
		}
		for name, value := range map[string]string{"Content-Type": "application/json",
			"X-Telegram-Bot-Api-Secret-Token": secret, "X-Forwarded-For": source} {
			r.Header.Set(name, value)
		}
		answer, err := client.Do(r)
		if err != nil {
			return err.Error()
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "" {
			return "429 without Retry-After"
		}
		return strconv.Itoa(answer.StatusCode)
	}
	var wrong, right tallied
	var all sync.WaitGroup
	for sender := range 20 {
		all.Go(func() {
			for i := range 250 {
				wrong.add(ask("guess", 0))
				if i%50 == 0 {
					right.add(ask(dev.Secret, sender*5+i/50))
				}
			}
		})
	}
	b.measure()
	all.Wait()
	return fmt.Sprintf("wrong %s; right %s", &wrong, &right)
}

// tallied counts answers.
type tallied struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *tallied) add(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[answer]++
}

func (c *tallied) String() string {
	var all []string
	for answer, n := range c.count {
		all = append(all, fmt.Sprintf("%s x %d", answer, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (b *besieged) rubbish() string {
	var got tallied
	for range 10 {
		atOnce(50, func(i int) {
			conn := b.dial()
			defer conn.Close()
			conn.NetConn().Write(bytes.Repeat([]byte{byte(128 + i)}, 256))
			io.Copy(io.Discard, conn.NetConn()) // the alert, then the end
			got.add("closed")
		})
	}
	return got.String()
}

// slow opens slow and silent connections at the same time. The server's time limits end each of them.
func (b *besieged) slow() string {
	hello := []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}
	kinds := []struct {
		name  string
		n     int
		begin func(conn *tls.Conn) io.Reader // says where the answer is read
		drip  string
	}{
		{"nothing", 100, func(conn *tls.Conn) io.Reader { return conn.NetConn() }, ""},
		{"half a handshake", 50, func(conn *tls.Conn) io.Reader { conn.NetConn().Write(hello); return conn.NetConn() }, ""},
		{"header byte by byte", 60,
			func(conn *tls.Conn) io.Reader { io.WriteString(conn, head(b.newSource(), dev.Secret)); return conn }, "X"},
		{"body byte by byte", 40, func(conn *tls.Conn) io.Reader {
			io.WriteString(conn, head(b.newSource(), dev.Secret, "Content-Length: 1000")+"\r\n")
			return conn
		}, " "},
		{"the same without the secret", 40, func(conn *tls.Conn) io.Reader {
			io.WriteString(conn, head(b.newSource(), "guess", "Content-Length: 1000")+"\r\n")
			return conn
		}, " "},
	}
	counts := make([]tallied, len(kinds))
	var all, begun sync.WaitGroup
	for k, kind := range kinds {
		for range kind.n {
			begun.Add(1)
			all.Go(func() {
				conn := b.dial()
				defer conn.NetConn().Close()
				from := kind.begin(conn)
				begun.Done()
				over := make(chan struct{})
				defer close(over)
				if kind.drip != "" {
					go func() {
						tick := time.NewTicker(200 * time.Millisecond)
						defer tick.Stop()
						for {
							select {
							case <-over:
								return
							case <-tick.C:
								io.WriteString(conn, kind.drip)
							}
						}
					}()
				}
				counts[k].add(statuses(from))
			})
		}
	}
	begun.Wait()
	b.eventually("all have come in", func() string {
		c := b.measure()
		return unless(c.connections > 250, "%d connections", c.connections)
	})
	var right tallied
	for range 20 {
		right.add(b.send(strings.NewReader(head(b.newSource(), dev.Secret, "Connection: close", "Content-Length: 2") +
			"\r\n{}")))
	}
	all.Wait()
	var said []string
	for k, kind := range kinds {
		said = append(said, kind.name+": "+counts[k].String())
	}
	return strings.Join(append(said, "right "+right.String()), "; ")
}

// crowd opens more connections than the limit allows, and leaves them idle.
func (b *besieged) crowd() string {
	var kept, closed atomic.Int64
	conns := make(chan net.Conn, allConnections+100)
	atOnce(20, func(int) {
		for range cap(conns) / 20 {
			conn, err := net.Dial("tcp", b.address)
			if err != nil {
				closed.Add(1)
				continue
			}
			conns <- conn
			secure := tls.Client(conn, b.tls)
			secure.SetDeadline(time.Now().Add(patience))
			io.WriteString(secure, strings.Replace(probe, "close", "keep-alive", 1))
			if answer, err := http.ReadResponse(bufio.NewReader(secure), nil); err == nil && answer.StatusCode == http.StatusOK {
				kept.Add(1)
			} else {
				closed.Add(1)
			}
		}
	})
	b.measure()
	close(conns)
	for conn := range conns {
		conn.Close()
	}
	// One connection is the client's that reads the metrics.
	return fmt.Sprintf("%d are served, %d closed", kept.Load()+1, closed.Load()-1)
}

// Every hostile input is answered, ends, and uses few resources: memory, connections, log lines.
func TestHostileInput_AllKinds_CostsLittle(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 25 s: the server's patience")
	}
	b := newBesieged(t)
	b.openChat(7)
	before, limit := b.measure(), maxGrowth
	if build, ok := debug.ReadBuildInfo(); ok &&
		slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		limit = maxRaceGrowth
	}
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(columns, "attack\tanswer\tconnections: worst\tleft\tmemory: worst\tafter\tlog lines\n")
	for _, a := range attacks {
		b.worst = cost{}
		lines := strings.Count(b.said.String(), "\n")
		got := a.do(b)
		if got != a.want {
			t.Errorf("%s: %s, want %s", a.name, got, a.want)
		}
		var after cost
		b.eventually(a.name+": its connections end", func() string {
			after = b.measure()
			return unless(after.connections == 0, "%d", after.connections)
		})
		if grown := b.worst.memory - before.memory; grown > limit {
			t.Errorf("%s: the server took %d MiB more", a.name, grown)
		}
		fmt.Fprintf(columns, "%s\t%s\t%d\t%d\t%d MiB\t%d MiB\t%d\n", a.name, got, b.worst.connections,
			after.connections, b.worst.memory, after.memory, strings.Count(b.said.String(), "\n")-lines)
	}
	after := b.measure()
	if after.goroutines > before.goroutines+10 || after.files > before.files+5 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	_, metrics, err := b.get(b.program.url + "/metrics")
	if err != nil {
		t.Error(err)
	}
	if err := b.end(b.program, syscall.SIGTERM); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	columns.Flush()
	said := b.said.String()
	t.Logf("before: %+v\nafter:  %+v\n%s\nlog:\n%s", before, after, &table, said)
	// At most ten in ten seconds, for six thousand rejections.
	if n := strings.Count(said, "\n"); n == 0 || n > 50 {
		t.Errorf("%d log lines", n)
	}
	for _, want := range []string{"reason=unauthorized", "reason=rate_limited", "reason=tls_failed",
		"reason=connection_limit", "from=198.51.0.0/24"} {
		if !strings.Contains(said, want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	expires := `chatledger_certificate_not_after_seconds{bot="",source="served"} 1.`
	if !strings.Contains(metrics, expires) {
		t.Errorf("the metrics do not say %s", expires)
	}
	for _, secret := range []string{dev.Secret, dev.Token} {
		if strings.Contains(said, secret) {
			t.Errorf("the log says %s", secret)
		}
	}
	w := b.world
	w.wantRows("100", `select count(*) from eventstore.events where name = 'message_received'`)
}
