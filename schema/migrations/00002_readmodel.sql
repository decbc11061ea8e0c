-- +goose Up
create schema readmodel;
comment on schema readmodel is 'Tables for people: rebuilt from the events at any time. Analysts read here.';

create table readmodel.conversations (
    stream_id      text collate "C" primary key,
    bot            text not null,
    chat_id        bigint,
    chat_type      text,
    customer       text,
    username       text,
    language       text,
    handler        text not null,
    blocked        boolean not null,
    workflow       text,
    step           text,
    collected      jsonb not null,
    workflow_started_at timestamptz,
    last_intent    text,
    last_message   text,
    last_message_at timestamptz,
    last_reply     text,
    last_reply_at  timestamptz,
    messages       bigint not null,
    replies        bigint not null,
    unread         bigint not null,
    awaiting_delivery bigint not null,
    failed_deliveries bigint not null,
    last_failure   text,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    version        bigint not null,
    transaction_id xid8 not null,
    position       bigint not null
) with (fillfactor = 70); -- a row per chat, rewritten with every page that touches it
create index conversations_active on readmodel.conversations (bot, updated_at desc) where handler = 'person' or workflow is not null;
comment on table readmodel.conversations is 'The current state of every chat, one row each, and of each bot''s own stream.';
comment on column readmodel.conversations.stream_id is 'The stream the row is folded from.';
comment on column readmodel.conversations.bot is 'Name of the bot.';
comment on column readmodel.conversations.chat_id is 'Telegram''s chat id; null for the bot''s own stream.';
comment on column readmodel.conversations.chat_type is 'private, group, supergroup or channel; null until a message told it.';
comment on column readmodel.conversations.customer is 'Name of who last wrote, or the group''s title.';
comment on column readmodel.conversations.username is 'Telegram user name of who last wrote, without @.';
comment on column readmodel.conversations.language is 'IETF language tag of the customer''s app.';
comment on column readmodel.conversations.handler is 'Who answers: bot or person.';
comment on column readmodel.conversations.blocked is 'True while the customer has blocked the bot or removed it.';
comment on column readmodel.conversations.workflow is 'The running workflow, or the last one ended; null when there was none.';
comment on column readmodel.conversations.step is 'Its step: initial, collecting_address, validating_address, confirming_changes, completed, or cancelled, expired, handed_over.';
comment on column readmodel.conversations.collected is 'What the workflow has collected, by field.';
comment on column readmodel.conversations.workflow_started_at is 'When the workflow began.';
comment on column readmodel.conversations.last_intent is 'What the bot last took the customer to want.';
comment on column readmodel.conversations.last_message is 'The customer''s last text or caption; a NUL stands as U+2400.';
comment on column readmodel.conversations.last_message_at is 'When it was sent.';
comment on column readmodel.conversations.last_reply is 'The last text decided to be sent to the customer.';
comment on column readmodel.conversations.last_reply_at is 'When that was decided.';
comment on column readmodel.conversations.messages is 'Messages from the customer.';
comment on column readmodel.conversations.replies is 'Messages to the customer that arrived.';
comment on column readmodel.conversations.unread is 'Messages from the customer since anybody last answered.';
comment on column readmodel.conversations.awaiting_delivery is 'Messages to the customer decided and not yet known to have arrived.';
comment on column readmodel.conversations.failed_deliveries is 'Messages to the customer that were refused, given up, or whose fate is unknown.';
comment on column readmodel.conversations.last_failure is 'Why the last of them failed.';
comment on column readmodel.conversations.created_at is 'When the chat began.';
comment on column readmodel.conversations.updated_at is 'When its last event occurred.';
comment on column readmodel.conversations.version is 'Version of the event that last changed the row.';
comment on column readmodel.conversations.transaction_id is 'transaction_id of that event.';
comment on column readmodel.conversations.position is 'position of that event.';

create table readmodel.tickets (
    ticket_id      text collate "C" primary key,
    stream_id      text collate "C" not null,
    bot            text not null,
    chat_id        bigint not null,
    status         text not null,
    priority       text not null,
    reason         text not null,
    subject        text not null,
    assignee       text,
    opened_at      timestamptz not null,
    due_at         timestamptz not null,
    first_reply_at timestamptz,
    resolved_at    timestamptz,
    reopened       integer not null,
    escalations    integer not null,
    updated_at     timestamptz not null,
    version        bigint not null,
    transaction_id xid8 not null,
    position       bigint not null
) with (fillfactor = 70);
create index tickets_stream on readmodel.tickets (stream_id);
create index tickets_open on readmodel.tickets (due_at) where status in ('open', 'assigned');
comment on table readmodel.tickets is 'Every case a person took or must take, one row each.';
comment on column readmodel.tickets.ticket_id is '<bot>:<chat id>#<number of the ticket in this chat>.';
comment on column readmodel.tickets.stream_id is 'The chat''s stream.';
comment on column readmodel.tickets.bot is 'Name of the bot.';
comment on column readmodel.tickets.chat_id is 'Telegram''s chat id.';
comment on column readmodel.tickets.status is 'open, assigned, resolved or handed_back (to the bot).';
comment on column readmodel.tickets.priority is 'urgent, high, normal or low.';
comment on column readmodel.tickets.reason is 'Why a person is needed: asked, angry, not_understood, troubleshooting_failed, cancel_order, order_lookup_failed, or an operator''s words.';
comment on column readmodel.tickets.subject is 'The customer''s words that led to it.';
comment on column readmodel.tickets.assignee is 'Who has it; null while nobody does.';
comment on column readmodel.tickets.opened_at is 'When it was opened.';
comment on column readmodel.tickets.due_at is 'When a person must have replied, by priority.';
comment on column readmodel.tickets.first_reply_at is 'When a person first replied; null until then.';
comment on column readmodel.tickets.resolved_at is 'When it was last resolved; null while it is not.';
comment on column readmodel.tickets.reopened is 'How often it was reopened.';
comment on column readmodel.tickets.escalations is 'How often its priority was raised.';
comment on column readmodel.tickets.updated_at is 'When its last event occurred.';
comment on column readmodel.tickets.version is 'Version of the event that last changed the row.';
comment on column readmodel.tickets.transaction_id is 'transaction_id of that event.';
comment on column readmodel.tickets.position is 'position of that event.';

create view readmodel.ticket_queue as
select ticket_id, bot, chat_id, priority, status, assignee, reason, subject,
       opened_at, now() - opened_at as waiting, due_at,
       first_reply_at is null and due_at < now() as overdue
from readmodel.tickets
where status in ('open', 'assigned')
order by array_position(array['urgent', 'high', 'normal', 'low'], priority), due_at, ticket_id;
comment on view readmodel.ticket_queue is 'Tickets that wait for a person, most urgent first, then by due time.';
comment on column readmodel.ticket_queue.ticket_id is 'See readmodel.tickets.';
comment on column readmodel.ticket_queue.bot is 'Name of the bot.';
comment on column readmodel.ticket_queue.chat_id is 'Telegram''s chat id.';
comment on column readmodel.ticket_queue.priority is 'urgent, high, normal or low.';
comment on column readmodel.ticket_queue.status is 'open or assigned.';
comment on column readmodel.ticket_queue.assignee is 'Who has it; null while nobody does.';
comment on column readmodel.ticket_queue.reason is 'Why a person is needed.';
comment on column readmodel.ticket_queue.subject is 'The customer''s words that led to it.';
comment on column readmodel.ticket_queue.opened_at is 'When it was opened.';
comment on column readmodel.ticket_queue.waiting is 'How long it has been open.';
comment on column readmodel.ticket_queue.due_at is 'When a person must have replied.';
comment on column readmodel.ticket_queue.overdue is 'True when that time has passed and nobody has replied.';
