package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// otlpReceiver receives spans like a collector.
type otlpReceiver struct {
	url string

	mu    sync.Mutex
	spans map[string]seen // by span id
	all   strings.Builder // every byte that was received
}

// seen is a span, and the process that it comes from.
type seen struct {
	*tracepb.Span
	process string
}

func newOTLPReceiver(t *testing.T) *otlpReceiver {
	t.Helper()
	o := &otlpReceiver{spans: map[string]seen{}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			t.Errorf("%s %s of %d bytes is no export (%v)", r.Method, r.URL, len(body), err)
		}
		o.take(&sent, body)
	}))
	t.Cleanup(front.Close)
	o.url = front.URL
	return o
}

func (o *otlpReceiver) take(sent *collector.ExportTraceServiceRequest, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all.Write(body)
	for _, of := range sent.ResourceSpans {
		process := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.instance.id" {
				process = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				o.spans[hex.EncodeToString(span.SpanId)] = seen{span, process}
			}
		}
	}
}

// path returns the names of a span and of those that contain it, the root first.
func (o *otlpReceiver) path(id string) string {
	span, there := o.spans[id]
	if !there {
		return "?" + id
	}
	if parent := hex.EncodeToString(span.ParentSpanId); parent != "" {
		return o.path(parent) + " > " + span.Name
	}
	return span.Name
}

// traced makes a chatledger send its spans.
func (o *otlpReceiver) traced(process string, ratio float64) func(*server.Config) {
	return func(c *server.Config) {
		c.Tracing.Endpoint, c.Tracing.Instance, c.Tracing.Ratio = o.url, process, ratio
	}
}

func TestTrace_AcrossProcesses_WebhookToCall(t *testing.T) {
	t.Parallel()
	o := newOTLPReceiver(t)
	shop, withCRM := newCRM(t)
	w := newTown(t, pgtest.Database(t), withCRM)
	worker := w.start(w.dsn, o.traced("worker", 1)) // it comes first, and leads all groups
	receiver := w.start(w.dsn, o.traced("receiver", 1))
	w.running = receiver
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.settle()
	receiver.stop()
	worker.stop()

	o.mu.Lock()
	defer o.mu.Unlock()
	traces, processes, paths := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for id, span := range o.spans {
		traces[hex.EncodeToString(span.TraceId)] = true
		processes[span.process] = true
		paths[o.path(id)] = true
	}
	if len(traces) != 1 {
		t.Errorf("one update made %d traces", len(traces))
	}
	if !processes["worker"] || !processes["receiver"] {
		t.Errorf("spans came from %v, want both processes", processes)
	}
	crm, telegram := strings.TrimPrefix(shop.url, "http://"), strings.TrimPrefix(w.api, "http://")
	received := "webhook > handle Receive"
	answered := received + " > page responder > handle Respond"
	lookedUp := answered + " > deliver orders.lookup"
	recorded := lookedUp + " > handle RecordTool"
	sent := recorded + " > deliver telegram.sendMessage"
	for _, want := range []string{
		received + " > wait", received + " > append", received + " > page conversations", received + " > page tickets",
		answered + " > append", answered + " > page outbox",
		lookedUp + " > call " + crm,
		recorded + " > append",
		sent + " > call " + telegram, sent + " > handle RecordDelivery > append",
	} {
		if !paths[want] {
			t.Errorf("there is no span %s", want)
		}
	}
	if t.Failed() {
		for path := range paths {
			t.Log(path)
		}
	}
	for _, secret := range []string{dev.Token, strings.Split(dev.Token, ":")[1], crmToken, dev.Secret,
		"Where is", "shipped"} {
		if strings.Contains(o.all.String(), secret) {
			t.Errorf("spans hold %q", secret)
		}
	}
}

func TestTrace_NotSampled_StoresNothing(t *testing.T) {
	t.Parallel()
	o := newOTLPReceiver(t)
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, o.traced("only", 0))
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.settle()
	w.stop()
	w.wantRows("true, 0", `select count(*) > 3, count(trace) from eventstore.events`)
	if len(o.spans) > 0 {
		t.Errorf("%d spans of a trace that is not sampled", len(o.spans))
	}
}

func TestTrace_Unauthorized_NotBegun(t *testing.T) {
	t.Parallel()
	o := newOTLPReceiver(t)
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, o.traced("only", 1))
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	ask := func(secret string) int {
		r, err := http.NewRequest(http.MethodPost, w.url+"/webhook/demo",
			strings.NewReader(messageUpdate(1, 7, 1, "Hello")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Telegram-Bot-Api-Secret-Token", secret)
		r.Header.Set("traceparent", "00-"+theirs+"-00f067aa0ba902b7-01")
		resp, err := webhookClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := []int{ask("wrong"), ask(dev.Secret)}; !slices.Equal(got, []int{http.StatusUnauthorized, http.StatusOK}) {
		t.Fatalf("answered %v", got)
	}
	w.stop()
	webhooks := 0
	for _, span := range o.spans {
		if span.Name == "webhook" {
			webhooks++
		}
		if hex.EncodeToString(span.TraceId) == theirs {
			t.Errorf("span %s is in a trace of the sender's choice", span.Name)
		}
	}
	if webhooks != 1 {
		t.Errorf("%d webhooks begin traces, want the one that was let in", webhooks)
	}
}

func TestLogLine_Traced_LeadsToEvents(t *testing.T) {
	t.Parallel()
	o := newOTLPReceiver(t)
	w := newTown(t, pgtest.Database(t))
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: http.StatusBadRequest})
	var written strings.Builder // complete when the app has stopped
	w.running = w.start(w.dsn, o.traced("only", 1),
		func(c *server.Config) { c.Log = logFlags{LogFormat: "json"}.logger(&written, slog.LevelWarn) })
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.settle()
	chain := w.rows(`select distinct correlation_id::text from eventstore.events`)
	w.stop()

	var line struct {
		Msg, Bot, Stream, Correlation string
		Trace                         string `json:"trace_id"`
	}
	for text := range strings.Lines(written.String()) {
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line.Msg == "delivery failed" {
			break
		}
	}
	if line.Msg != "delivery failed" || line.Bot != "demo" || line.Stream != "chat-demo:42" || line.Correlation != chain {
		t.Errorf("the line is %+v, want that of the delivery in chain %s", line, chain)
	}
	for id, span := range o.spans {
		if hex.EncodeToString(span.TraceId) != line.Trace {
			t.Errorf("the line is of trace %s, and the span %s of another", line.Trace, o.path(id))
		}
	}
}

func TestTrace_ReceiverHangs_DelaysNothing(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and answers none
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn,
		func(c *server.Config) { c.Tracing.Endpoint, c.Tracing.Ratio = "http://"+silent.Addr().String(), 1 })
	w.register()
	w.Say(42, "Where is my order 1001?")
	w.settle()
	w.wantRows("true", `select count(trace) > 3 from eventstore.events`)
	if said := w.texts(42, "bot"); len(said) != 1 {
		t.Errorf("the customer was told %q", said)
	}
	const drained = 10 * time.Second // what the end of a process may take
	begun := time.Now()
	if w.stop(); time.Since(begun) > drained {
		t.Errorf("it took %v to stop", time.Since(begun))
	}
}
