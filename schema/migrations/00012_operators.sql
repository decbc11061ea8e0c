-- +goose Up
alter table readmodel.tickets
    add column tags          text[] not null default '{}',
    add column claimed_by    text,
    add column claimed_until timestamptz,
    add column fence         bigint not null default 0;
comment on column readmodel.tickets.tags is 'What operators have tagged it with, in order.';
comment on column readmodel.tickets.claimed_by is 'The operator who claimed it last; null when nobody did, or it was released or closed. The claim runs until claimed_until.';
comment on column readmodel.tickets.claimed_until is 'When that claim runs out, or has; nothing marks that moment.';
comment on column readmodel.tickets.fence is 'Number of that claim in its chat; 0 when nobody claimed it.';
comment on column readmodel.tickets.escalations is 'How often its priority was raised, by a rule or by a person.';
comment on column readmodel.tickets.reason is 'Why a person is needed: a rule''s name, failed, asked and the like by the bot''s knowledge, taken_over by an operator who claimed the chat, or an operator''s words.';

-- A claim that was abandoned shows as none as soon as it has run out.
create or replace view readmodel.ticket_queue as
select ticket_id, bot, chat_id, priority, status, assignee, reason, subject,
       opened_at, now() - opened_at as waiting, due_at,
       first_reply_at is null and due_at < now() as overdue,
       external_system, external_state, external_id,
       resolve_by, coalesce(resolve_by < now(), false) as resolution_overdue,
       tags, case when claimed_until > now() then claimed_by end as claimed_by
from readmodel.tickets
where status in ('open', 'assigned')
order by array_position(array['urgent', 'high', 'normal', 'low'], priority), due_at, ticket_id;
comment on column readmodel.ticket_queue.tags is 'What operators have tagged it with.';
comment on column readmodel.ticket_queue.claimed_by is 'Who is at it now; null when anybody may claim it.';

create table eventstore.operators (
    name         text collate "C" primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    role         text not null check (role in ('viewer', 'agent', 'admin')),
    token_hash   bytea not null unique check (length(token_hash) = 32),
    password     text,
    created_at   timestamptz not null default now(),
    last_seen_at timestamptz,
    disabled     boolean not null default false
);
comment on table eventstore.operators is 'Who may use the operators'' API, people and programs.';
comment on column eventstore.operators.name is 'Their name, under which events keep what they do.';
comment on column eventstore.operators.role is 'viewer reads, agent acts on chats, admin takes a chat from another, too.';
comment on column eventstore.operators.token_hash is 'SHA-256 of their token, which nobody keeps.';
comment on column eventstore.operators.password is 'Argon2id hash of the password with which they log in; null for who has a token only.';
comment on column eventstore.operators.created_at is 'When they were added, or got another token.';
comment on column eventstore.operators.last_seen_at is 'When they last used the API, to the minute; null when they never did.';
comment on column eventstore.operators.disabled is 'True when they may not use it any more.';

create table eventstore.operator_sessions (
    session_hash bytea primary key check (length(session_hash) = 32),
    operator     text collate "C" not null references eventstore.operators (name) on delete cascade,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null
);
create index operator_sessions_of on eventstore.operator_sessions (operator);
create index operator_sessions_old on eventstore.operator_sessions (expires_at);
comment on table eventstore.operator_sessions is 'Browsers in which operators are logged in.';
comment on column eventstore.operator_sessions.session_hash is 'SHA-256 of the cookie, which nobody else keeps.';
comment on column eventstore.operator_sessions.operator is 'Who is logged in.';
comment on column eventstore.operator_sessions.created_at is 'When they logged in.';
comment on column eventstore.operator_sessions.expires_at is 'When they must log in again.';
