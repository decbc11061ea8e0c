-- +goose Up
alter table readmodel.conversations add column paused jsonb;
comment on column readmodel.conversations.paused is 'The workflow that was set aside for the running one, with its step and what it collected; null when there is none.';
comment on column readmodel.conversations.step is 'Its step, as the bot''s knowledge names it: initial at the beginning, and at the end completed, cancelled, expired or handed_over.';
comment on column readmodel.conversations.last_intent is 'What the bot last took the customer to want: an intent of its knowledge, or unknown, start, help, cancel, back, file.';

-- What is on its way at this moment was asked for in the words of the former program.
update eventstore.deliveries set payload = case kind
    when 'orders.lookup' then jsonb_build_object('tool', 'order_status', 'for', 'workflow', 'call', 0, 'to', payload -> 'to',
        'input', jsonb_build_object('number', payload -> 'number'))
    when 'crm.validateAddress' then jsonb_build_object('tool', 'check_address', 'for', 'workflow', 'call', 0, 'to', payload -> 'to',
        'input', jsonb_build_object('address', payload -> 'address'))
    else jsonb_build_object('tool', 'change_billing_address', 'for', 'workflow', 'call', 0, 'to', payload -> 'to',
        'customer', payload -> 'customer', 'input', jsonb_build_object('address', payload -> 'address'))
    end
where kind in ('orders.lookup', 'crm.validateAddress', 'crm.updateAddress') and not payload ? 'tool';
