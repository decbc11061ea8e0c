-- +goose Up
-- One row per bot and per chat that was written to a moment ago; a chat's is deleted once it
-- says nothing any more. The bot's row changes with every call: leave its page room for that.
create table eventstore.flow (
    name         text collate "C" primary key,
    tat          timestamptz not null,
    cause        text collate "C" check (cause in ('flood', 'token', 'blocked')),
    closed_until timestamptz,
    reason       text,
    flooded      text collate "C",
    flooded_at   timestamptz,
    check ((cause is null) = (closed_until is null)),
    check ((flooded is null) = (flooded_at is null))
) with (fillfactor = 50);
comment on table eventstore.flow is 'How fast Telegram may be called, and what may not be called at all: shared by all processes, remembered over restarts.';
comment on column eventstore.flow.name is 'The stream of a chat or of a bot, whose limit it is.';
comment on column eventstore.flow.tat is 'The theoretical arrival time of the next call (GCRA): the calls made have used the limit up to then. Past: nothing is used up.';
comment on column eventstore.flow.cause is 'Why it is closed: flood (Telegram asked to wait), token (it does not accept the bot''s), blocked (the customer wants no messages); null when it is not.';
comment on column eventstore.flow.closed_until is 'No call before then. With cause token one call may try then, and puts this off for the others.';
comment on column eventstore.flow.reason is 'What Telegram said.';
comment on column eventstore.flow.flooded is 'Of a bot: the chat for which Telegram last asked to wait.';
comment on column eventstore.flow.flooded_at is 'When it did. Asked for another chat soon after, it means the bot.';
