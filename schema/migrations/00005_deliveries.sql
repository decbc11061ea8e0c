-- +goose Up
-- A delivery is over when finished_at says so. One that is not over holds its lane: it waits, it
-- is being sent, or it is a dead letter that an operator has yet to decide about. Dead letters
-- from before this migration have finished_at set: their lanes went on without them.
alter table eventstore.deliveries
    drop constraint deliveries_state_check,
    add constraint deliveries_state_check check (state in ('waiting', 'sending', 'done', 'refused', 'unknown', 'dead', 'skipped')),
    add column parked boolean not null default false,
    add column waived integer not null default 0,
    add column retried_at timestamptz;
comment on column eventstore.deliveries.state is 'waiting, sending, then done, refused (the other side said no), unknown (it may have arrived), dead (given up) or skipped (an operator decided that it is not to be sent).';
comment on column eventstore.deliveries.finished_at is 'When it was over; null while it holds its lane: a dead or unknown one without it is a dead letter, on which an operator must decide.';
comment on column eventstore.deliveries.parked is 'True while it stands far behind in its lane: claims do not look at it.';
comment on column eventstore.deliveries.attempts is 'Attempts begun, since an operator last retried it.';
comment on column eventstore.deliveries.waived is 'Of the unsure attempts, those an operator knew of when retrying it: they stand no more in the way of another.';
comment on column eventstore.deliveries.retried_at is 'When an operator last retried it; null when nobody did.';

-- The head of each lane is found here, and nothing that is over is ever looked at.
drop index eventstore.deliveries_lane;
create index deliveries_lane on eventstore.deliveries (lane, seq) where finished_at is null;
-- What claims read: the heads of lanes, due or not, and what has only just come.
drop index eventstore.deliveries_due;
create index deliveries_due on eventstore.deliveries (destination, priority desc, seq) where state = 'waiting' and not parked;
create index deliveries_parked on eventstore.deliveries (lane, seq) where parked;
-- Few, and what operators ask for.
create index deliveries_dead on eventstore.deliveries (delivery_id) where state in ('dead', 'unknown') and finished_at is null;
