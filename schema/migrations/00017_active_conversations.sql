-- +goose Up
-- A conversation keeps the last workflow that ended, so the index held every chat that ever had
-- one. What is active is what a person has, or what is in the middle of a workflow.
drop index readmodel.conversations_active;
create index conversations_active on readmodel.conversations (bot)
    where handler = 'person' or workflow is not null and step not in ('completed', 'cancelled', 'expired', 'handed_over');
