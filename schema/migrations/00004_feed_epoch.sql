-- +goose Up
-- In another cluster transaction ids start again. What that does to a ledger restored there from a
-- dump, `chatledger rebase` puts right: it gives this function a body that adds what is missing.
-- The function stands between the cluster's ids and the ledger's wherever they meet. The planner
-- puts its body in its place, so that it costs nothing while there is nothing to add, and a range
-- of ids stays a range of the index when there is.
create function eventstore.rebased(id xid8) returns xid8 language sql stable parallel safe as 'select id';
comment on function eventstore.rebased is 'A transaction id of this cluster as the ledger counts them: above every id that was brought along from another cluster.';

alter table eventstore.events alter column transaction_id set default eventstore.rebased(pg_current_xact_id());
comment on column eventstore.events.transaction_id is 'The transaction that stored the event, as counted by eventstore.rebased; the feed is read in (transaction_id, position) order below the oldest running transaction.';
