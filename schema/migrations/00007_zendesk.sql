-- +goose Up
alter table readmodel.tickets
    add column external_system   text,
    add column external_state    text check (external_state in ('pending', 'filed', 'failed')),
    add column external_id       text,
    add column external_delivery text;
comment on column readmodel.tickets.external_system is 'The other desk that keeps the case, too: zendesk; null when none does.';
comment on column readmodel.tickets.external_state is 'pending until that desk has it, then filed; failed when it refused it or an operator must decide. Null when no other desk keeps it.';
comment on column readmodel.tickets.external_id is 'Its number at that desk; null until it is filed.';
comment on column readmodel.tickets.external_delivery is 'The delivery that files it there: `chatledger deliveries show` tells how that stands.';

create or replace view readmodel.ticket_queue as
select ticket_id, bot, chat_id, priority, status, assignee, reason, subject,
       opened_at, now() - opened_at as waiting, due_at,
       first_reply_at is null and due_at < now() as overdue,
       external_system, external_state, external_id
from readmodel.tickets
where status in ('open', 'assigned')
order by array_position(array['urgent', 'high', 'normal', 'low'], priority), due_at, ticket_id;
comment on column readmodel.ticket_queue.external_system is 'The other desk that keeps the case, too; null when none does.';
comment on column readmodel.ticket_queue.external_state is 'pending, filed or failed there.';
comment on column readmodel.ticket_queue.external_id is 'Its number there.';

comment on column eventstore.flow.name is 'Whose limit it is: the stream of a chat or of a bot, or an account at another system such as zendesk:shop.zendesk.com.';
comment on column eventstore.quarantine.bot is 'The bot it was posted to; zendesk:<bot> when Zendesk was to have posted it.';
