package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Tracing makes one OpenTelemetry trace of an update and everything that follows from it, in all processes:
// the trace context is stored with the events, and consumers continue it. Only authenticated webhook requests
// start traces. The trace context in a request's headers is ignored.
//
//	webhook > handle > wait, append
//	               > page (one per consumer group that reads the event) > handle > ...
//	               > deliver > call (of another system), handle > ...
//
// Spans contain names of streams, bots and kinds, but no message texts, customers' names, URLs or error texts,
// which may contain a customer's data or a token.
//
// If tracing is off, its methods return their argument.
type Tracing struct {
	tracer   trace.Tracer
	provider *sdk.TracerProvider // nil if tracing is off
}

// TracingConfig configures tracing.
type TracingConfig struct {
	Endpoint string  // base URL of an OTLP/HTTP receiver, such as http://127.0.0.1:4318; "" means off
	Ratio    float64 // share of the webhook requests that start a trace: 0 to 1
	Version  string  // of this program
	Instance string  // of this process
	Log      *slog.Logger
}

// NewTracing returns a Tracing. It connects when the first span is sent. Spans that the receiver does not
// accept are dropped, so tracing delays nothing. The environment variables of OpenTelemetry, such as
// OTEL_EXPORTER_OTLP_HEADERS, apply.
func NewTracing(ctx context.Context, c TracingConfig) (*Tracing, error) {
	if c.Endpoint == "" {
		return &Tracing{}, nil
	}
	base, err := url.Parse(c.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("tracing: the endpoint is not the base URL of an OTLP receiver; give one such as " +
			"http://127.0.0.1:4318")
	}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(strings.TrimSuffix(c.Endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		c.Log.Warn("spans not sent to the OTLP receiver, dropped", "error", err)
	}))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Ratio))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "chatledger"),
			attribute.String("service.version", c.Version), attribute.String("service.instance.id", c.Instance))))
	return &Tracing{provider.Tracer("github.com/chatledger/chatledger"), provider}, nil
}

// flushTimeout bounds the time for sending the last spans: the receiver may not answer.
const flushTimeout = 2 * time.Second

// Close sends the remaining spans.
func (t *Tracing) Close() {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// incoming is a webhook request. Its span, the root of a trace, starts after the request was authenticated.
type incoming struct {
	begun time.Time
	span  trace.Span
}

type incomingKey struct{}

// Receive returns a handler whose requests can start traces.
func (t *Tracing) Receive(next http.Handler) http.Handler {
	if t.provider == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := &incoming{begun: time.Now()}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), incomingKey{}, in)))
		if in.span != nil {
			in.span.End()
		}
	})
}

// RequestHandler handles requests: commands.Handler, or the handler that Handler returns.
type RequestHandler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
	HandleAll(context.Context, []commands.Request) ([]commands.Result, error)
}

// Handler returns a handler that passes requests to next and traces them.
func (t *Tracing) Handler(next RequestHandler) RequestHandler {
	if t.provider == nil {
		return next
	}
	return tracedHandler{t, next}
}

type tracedHandler struct {
	tracing *Tracing
	next    RequestHandler
}

func (h tracedHandler) Handle(ctx context.Context, r commands.Request) (commands.Result, error) {
	ctx = h.tracing.start(ctx, r.Stream.Bot())
	ctx, span := h.tracing.handle(ctx, &r)
	result, err := h.next.Handle(ctx, r)
	end(span, err)
	if in, ok := ctx.Value(incomingKey{}).(*incoming); ok && err != nil {
		in.span.SetStatus(codes.Error, "")
	}
	return result, err
}

// HandleAll marks all spans as failed if one request fails, because all of them are then retried.
func (h tracedHandler) HandleAll(ctx context.Context, requests []commands.Request) ([]commands.Result, error) {
	spans := make([]trace.Span, len(requests))
	for i := range requests {
		_, spans[i] = h.tracing.handle(ctx, &requests[i])
	}
	results, err := h.next.HandleAll(ctx, requests)
	for _, span := range spans {
		end(span, err)
	}
	return results, err
}

// start starts the trace of a webhook request when its first command is handled.
func (t *Tracing) start(ctx context.Context, bot string) context.Context {
	in, ok := ctx.Value(incomingKey{}).(*incoming)
	if !ok {
		return ctx
	}
	if in.span == nil {
		_, in.span = t.tracer.Start(ctx, "webhook", trace.WithNewRoot(), trace.WithTimestamp(in.begun),
			trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("bot", bot)))
	}
	return trace.ContextWithSpan(ctx, in.span)
}

// handle starts the span of a request and stores its context in the request. The parent is the span of the
// page with the event that the request answers, or the span in ctx.
func (t *Tracing) handle(ctx context.Context, r *commands.Request) (context.Context, trace.Span) {
	if pages, ok := ctx.Value(pagesKey{}).(map[uuid.UUID]context.Context); ok {
		if page, ok := pages[r.Causation]; ok {
			ctx = page
		}
	}
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := t.tracer.Start(ctx, "handle "+kind(r.Command), trace.WithAttributes(
		attribute.String("bot", r.Stream.Bot()), attribute.String("stream", string(r.Stream))))
	if r.Correlation != uuid.Nil {
		span.SetAttributes(attribute.String("correlation", r.Correlation.String()))
	}
	r.Trace = traceparent(ctx)
	return ctx, span
}

// kind returns the name of a command's type.
func kind(command any) string {
	_, name, _ := strings.Cut(fmt.Sprintf("%T", command), ".")
	return name
}

// Commit traces the commit of a batch: each request of the batch gets spans in its own trace, linked to those
// of the first request.
func (t *Tracing) Commit(r commands.Commit) {
	if t.provider == nil || r.AppendTime == 0 {
		return
	}
	var first []trace.SpanStartOption
	for _, one := range r.Traced {
		ctx := under(context.Background(), one.Trace)
		_, wait := t.tracer.Start(ctx, "wait", trace.WithTimestamp(one.Since))
		wait.End(trace.WithTimestamp(r.Begun))
		_, span := t.tracer.Start(ctx, "append", append(first, trace.WithTimestamp(r.Appending), trace.WithAttributes(
			attribute.Int("streams", r.Streams), attribute.Int("events", r.Events), attribute.Int("conflicts", r.Conflicts)))...)
		fail(span, r.Err)
		span.End(trace.WithTimestamp(r.Appending.Add(r.AppendTime)))
		if first == nil {
			first = []trace.SpanStartOption{trace.WithLinks(trace.Link{SpanContext: span.SpanContext()})}
		}
	}
}

type pagesKey struct{}

// Page returns a function that calls next and traces the page: with one span in each trace of which the page
// has an event.
func (t *Tracing) Page(
	group string, next func(context.Context, pgx.Tx, []domain.Recorded) error,
) func(context.Context, pgx.Tx, []domain.Recorded) error {
	if t.provider == nil {
		return next
	}
	return func(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
		spans, pages := map[trace.TraceID]context.Context{}, map[uuid.UUID]context.Context{}
		for _, r := range page {
			if r.Trace == "" {
				continue
			}
			event := under(ctx, r.Trace)
			id := trace.SpanContextFromContext(event).TraceID()
			if spans[id] == nil {
				spans[id], _ = t.tracer.Start(event, "page "+group, trace.WithSpanKind(trace.SpanKindConsumer),
					trace.WithAttributes(attribute.String("group", group), attribute.Int("events", len(page))))
			}
			pages[r.ID] = spans[id]
		}
		err := next(context.WithValue(ctx, pagesKey{}, pages), tx, page)
		for _, span := range spans {
			end(trace.SpanFromContext(span), err)
		}
		return err
	}
}

// Deliver returns a function that calls next and traces the attempt.
func (t *Tracing) Deliver(
	next func(context.Context, commands.Claimed) error,
) func(context.Context, commands.Claimed) error {
	if t.provider == nil {
		return next
	}
	return func(ctx context.Context, c commands.Claimed) error {
		if c.Trace == "" {
			return next(ctx, c)
		}
		ctx, span := t.tracer.Start(under(ctx, c.Trace), "deliver "+string(c.Kind), trace.WithAttributes(
			attribute.String("destination", c.Destination), attribute.String("delivery", c.ID.String()),
			attribute.String("stream", string(c.Stream)), attribute.String("correlation", c.Correlation.String()),
			attribute.Int("attempt", c.Attempt)))
		err := next(ctx, c)
		end(span, err)
		return err
	}
}

// Outcome adds its outcome to the span of an attempt.
func (t *Tracing) Outcome(ctx context.Context, state domain.DeliveryState) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("outcome", string(state)))
}

// Transport returns a transport that traces calls of other systems, and sends them the trace context. Its
// spans contain only the host of a URL: Telegram's URLs contain the token, and others' customers' ids.
func (t *Tracing) Transport(next http.RoundTripper) http.RoundTripper {
	if t.provider == nil {
		return next
	}
	return transport{t.tracer, next}
}

type transport struct {
	tracer trace.Tracer
	next   http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !trace.SpanContextFromContext(r.Context()).IsSampled() {
		return t.next.RoundTrip(r)
	}
	ctx, span := t.tracer.Start(r.Context(), "call "+r.URL.Host, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", r.Method),
			attribute.String("server.address", r.URL.Hostname())))
	r = r.Clone(ctx)
	w3c.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	}
	end(span, err)
	return resp, err
}

// CloseIdleConnections is called by http.Client.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

var w3c propagation.TraceContext

// traceparent returns the W3C traceparent of the context's span.
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// under returns a context in the trace of a traceparent.
func under(ctx context.Context, traceparent string) context.Context {
	return w3c.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
}

// end ends a span, as failed if err is not nil.
func end(span trace.Span, err error) {
	fail(span, err)
	span.End()
}

// fail marks a span as failed and adds the error's type. The error's text may quote a customer.
func fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	span.SetStatus(codes.Error, "")
	span.SetAttributes(attribute.String("error.type", fmt.Sprintf("%T", err)))
}
