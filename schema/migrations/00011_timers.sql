-- +goose Up
create table eventstore.timers (
    stream_id   text collate "C" primary key,
    due_at      timestamptz not null,
    taken_until timestamptz
) with (fillfactor = 70); -- rewritten with every step of a workflow
create index timers_due on eventstore.timers (due_at);
comment on table eventstore.timers is 'When time brings something about in a chat: a reminder, the end of a workflow, the answer to a backlog, an overdue ticket. What it brings about is decided by the chat''s events; a row only says when to look.';
comment on column eventstore.timers.stream_id is 'The chat''s stream.';
comment on column eventstore.timers.due_at is 'When to look next.';
comment on column eventstore.timers.taken_until is 'Until when the process that is looking has to be done; null while none is.';

-- Cases that are open already become overdue, too. Workflows from before do not: whoever left one
-- hears that it is over when they write again, and not because of this migration.
insert into eventstore.timers (stream_id, due_at)
select stream_id, min(due_at) from readmodel.tickets where status in ('open', 'assigned') group by stream_id;

alter table readmodel.tickets
    add column resolve_by                 timestamptz,
    add column first_response_breached_at timestamptz,
    add column resolution_breached_at     timestamptz;
comment on column readmodel.tickets.due_at is 'When a person must have replied first, by priority, in business hours.';
comment on column readmodel.tickets.resolve_by is 'When a person must have closed the case; null for cases from before there was such a time.';
comment on column readmodel.tickets.first_response_breached_at is 'When nobody had replied by due_at; null while that has not happened. A reopened case begins anew.';
comment on column readmodel.tickets.resolution_breached_at is 'When the case was still open at resolve_by; null while that has not happened. A reopened case begins anew.';

create or replace view readmodel.ticket_queue as
select ticket_id, bot, chat_id, priority, status, assignee, reason, subject,
       opened_at, now() - opened_at as waiting, due_at,
       first_reply_at is null and due_at < now() as overdue,
       external_system, external_state, external_id,
       resolve_by, coalesce(resolve_by < now(), false) as resolution_overdue
from readmodel.tickets
where status in ('open', 'assigned')
order by array_position(array['urgent', 'high', 'normal', 'low'], priority), due_at, ticket_id;
comment on column readmodel.ticket_queue.resolve_by is 'When a person must have closed the case.';
comment on column readmodel.ticket_queue.resolution_overdue is 'True when that time has passed.';
