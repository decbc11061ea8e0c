-- Where Telegram may post to, and with which secret. The plain secret is not kept: receivers
-- compare digests, and who registers an address makes its secret anew from the bot's token.

-- +goose Up
create table eventstore.webhooks (
    bot         text not null,
    path        text not null,
    secret_hash bytea not null check (length(secret_hash) = 32),
    valid_from  timestamptz not null default now(),
    valid_until timestamptz,
    primary key (bot, path, secret_hash)
);
comment on table eventstore.webhooks is 'The addresses of each bot''s webhook and the secrets that are right there, with the time in which they are. A row that has ended stays: that secret is not right again.';
comment on column eventstore.webhooks.bot is 'Name of the bot.';
comment on column eventstore.webhooks.path is 'What follows /webhook/<bot>/ in the address; empty for /webhook/<bot> itself.';
comment on column eventstore.webhooks.secret_hash is 'SHA-256 of the secret.';
comment on column eventstore.webhooks.valid_from is 'Since when it is right.';
comment on column eventstore.webhooks.valid_until is 'When it ceases to be right; null for the address that Telegram was told last.';
