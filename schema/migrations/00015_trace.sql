-- +goose Up
-- Null unless the trace is sampled, and then it costs a row no byte: it has a null bitmap already.
alter table eventstore.events add column trace text;
comment on column eventstore.events.trace is 'Trace context of the request that decided it, as a W3C traceparent; null when it was not sampled.';
