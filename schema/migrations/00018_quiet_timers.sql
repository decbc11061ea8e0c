-- +goose Up
alter table eventstore.timers add column quiet boolean not null default false;
comment on column eventstore.timers.quiet is 'What is due by the next look is done without a word to the customer: the chat was imported, and it fell due while the archive lay.';
