package eventstore

// An append settles deliveries and sets timers in its own transaction. These are the parts of its
// statements that change the tables deliveries and timers.

// settle ends the attempt at delivery x with the state and outcome in d. A retry by an
// operator resets the attempts, and waives the attempts known to be unsure.
const settle = `
    state = d.state, outcome = d.outcome::jsonb, reason = nullif(d.reason, ''),
    finished_at = case when d.over then now() end,
    deferred = false, postponed = false, lease_owner = null, lease_until = null,
    attempts = case d.state when 'waiting' then 0 else x.attempts end,
    unsure = x.unsure + d.unsure::int,
    waived = case d.state when 'waiting' then x.unsure else x.waived end,
    next_attempt = case d.state when 'waiting' then now() else x.next_attempt end,
    retried_at = case d.state when 'waiting' then now() else x.retried_at end`

// moveUp ends the deferral of the next delivery of each ordering key whose first delivery is finished.
const moveUp = `
    update eventstore.deliveries n set deferred = false
    from settled s, lateral (
        select p.delivery_id from eventstore.deliveries p
        where p.deferred and p.ordering_key = s.ordering_key and p.seq > s.seq
        order by p.seq limit 1
    ) next
    where s.finished_at is not null and n.delivery_id = next.delivery_id`

// setTimers writes the rows of t(stream_id, due_at). A null due_at deletes the timer. A new time ends
// the lease of a process that has claimed the timer.
const setTimers = `unset as (
    delete from eventstore.timers x using t where x.stream_id = t.stream_id and t.due_at is null
), timed as (
    insert into eventstore.timers (stream_id, due_at) select stream_id, due_at from t where due_at is not null
    on conflict (stream_id) do update set due_at = excluded.due_at, taken_until = null, quiet = false
)`
