-- +goose Up
alter table eventstore.operators add column bots text[] not null default '{}';
comment on column eventstore.operators.bots is 'Names of the bots whose chats they may see and act on; empty for all there are.';
