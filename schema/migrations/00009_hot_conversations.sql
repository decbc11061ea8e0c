-- +goose Up
-- Every event of a chat changes updated_at. While an index held that column, each change of a row
-- also put a new entry into every index of the table; without it the row is rewritten in place.
-- The chats that are active now are few, so sorting them costs nothing.
drop index readmodel.conversations_active;
create index conversations_active on readmodel.conversations (bot) where handler = 'person' or workflow is not null;
