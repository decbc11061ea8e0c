-- +goose Up
-- One row per message in either direction. Rows come in the order of time and are changed within
-- seconds, mostly by the page that brings the answer; an index on a column that changes would
-- cost an entry for each change.
create table readmodel.messages (
    message_id     text collate "C" primary key,
    stream_id      text collate "C" not null,
    number         bigint not null,
    bot            text not null,
    chat_id        bigint not null,
    direction      text not null check (direction in ('in', 'out')),
    kind           text not null,
    at             timestamptz not null,
    sent_at        timestamptz,
    telegram_id    bigint,
    written_by     text not null,
    author         text,
    text           text,
    language       text,
    intent         text,
    confidence     double precision,
    knowledge      text,
    workflow       text,
    from_step      text,
    step           text,
    answered_by    text,
    answered_at    timestamptz,
    handed_over    text,
    answers        text collate "C",
    backlog        boolean not null,
    model_asked    boolean not null,
    over_limit     boolean not null,
    late           boolean not null,
    album_part     boolean not null,
    delivery       text,
    delivered_at   timestamptz,
    failure        text,
    version        bigint not null,
    transaction_id xid8 not null,
    position       bigint not null,
    -- Clocks of two machines may disagree; nobody is answered before they write.
    latency        interval generated always as (greatest(answered_at - at, interval '0')) stored,
    day            date generated always as ((at at time zone 'UTC')::date) stored
) with (fillfactor = 85);
create index messages_stream on readmodel.messages (stream_id, number);
-- Rows of one day lie together: their place is found in an index of a few pages.
create index messages_day on readmodel.messages using brin (day) with (autosummarize = true);
comment on table readmodel.messages is 'Every message of every chat, in both directions, with what the bot made of it and what became of it; pressed buttons and edits, too.';
comment on column readmodel.messages.message_id is 'Of one received: its stream and number, such as chat-demo:42/17. Of one sent: its delivery, which `chatledger deliveries show` knows.';
comment on column readmodel.messages.stream_id is 'The stream the row is folded from.';
comment on column readmodel.messages.number is 'Version of its event in the stream: the order of a chat''s messages.';
comment on column readmodel.messages.bot is 'Name of the bot.';
comment on column readmodel.messages.chat_id is 'Telegram''s chat id.';
comment on column readmodel.messages.direction is 'in: from the customer. out: to them.';
comment on column readmodel.messages.kind is 'text, button or edit, or what it carries: photo, document, voice and so on, as Telegram calls it.';
comment on column readmodel.messages.at is 'When it was received, or decided upon.';
comment on column readmodel.messages.sent_at is 'When the customer sent it, by Telegram''s clock, in whole seconds; earlier than at when it waited for us. Null of those sent out.';
comment on column readmodel.messages.telegram_id is 'Telegram''s number of the message in the chat; of an edit or a button, that of the message it belongs to; null until it is delivered.';
comment on column readmodel.messages.written_by is 'Of one received: customer, or bot when another bot in the group wrote it. Of one sent: rule, model or person.';
comment on column readmodel.messages.author is 'Name of the customer or the person; null when the bot wrote it.';
comment on column readmodel.messages.text is 'Text or caption; the whole new text of an edit, the data of a button; null when there is none.';
comment on column readmodel.messages.language is 'Language that the bot took it to be in; null when it was not looked at.';
comment on column readmodel.messages.intent is 'What the bot took the customer to want, as its knowledge calls it, or unknown, start, help, cancel, back, file, answer (to a workflow''s question), button, correction, backlog, too_fast; null when it was not looked at.';
comment on column readmodel.messages.confidence is 'How sure the bot was of the intent, 0 to 1; of unknown, of the intent it came closest to.';
comment on column readmodel.messages.knowledge is 'Hash of the knowledge by which it was understood.';
comment on column readmodel.messages.workflow is 'The workflow that it moved; null when it moved none.';
comment on column readmodel.messages.from_step is 'The step it found the workflow at; null when it began it.';
comment on column readmodel.messages.step is 'The step it led to: one that waits for the customer or for a tool, or completed, cancelled, expired, handed_over.';
comment on column readmodel.messages.answered_by is 'Who answered it first: rule, model, person, or nobody. Null of those sent out. What the bot says while it fetches a person is no answer.';
comment on column readmodel.messages.answered_at is 'When the first answer was decided; null while there is none.';
comment on column readmodel.messages.handed_over is 'Why a person was fetched for it; null when none was.';
comment on column readmodel.messages.answers is 'message_id of the one that it answers; null when it answers none in particular, as a person''s does.';
comment on column readmodel.messages.backlog is 'It had waited too long, and was answered together with others.';
comment on column readmodel.messages.model_asked is 'A model was asked about it, or told of it while it was busy with the one before.';
comment on column readmodel.messages.over_limit is 'The chat wrote faster than its limit: kept, not answered.';
comment on column readmodel.messages.late is 'It came after messages that were sent later, and moved no workflow.';
comment on column readmodel.messages.album_part is 'A further part of an album, which is answered with its first.';
comment on column readmodel.messages.delivery is 'Of one sent: waiting, then sent, refused, unknown (it may have arrived), dead (given up for now) or skipped. Null of those received.';
comment on column readmodel.messages.delivered_at is 'When it was known to have arrived.';
comment on column readmodel.messages.failure is 'Why it was not delivered when that was last tried; null when it was.';
comment on column readmodel.messages.version is 'Version of the event that last changed the row.';
comment on column readmodel.messages.transaction_id is 'transaction_id of that event in the feed.';
comment on column readmodel.messages.position is 'position of that event in the feed.';
comment on column readmodel.messages.latency is 'From receiving it to the first answer.';
comment on column readmodel.messages.day is 'Day of at, in UTC: with it in the where clause, only the rows of those days are read.';

-- One row per chat and day on which something was said or done in it. A chat's day never goes back.
create table readmodel.chat_days (
    chat_day         text collate "C" primary key,
    stream_id        text collate "C" not null,
    bot              text not null,
    chat_id          bigint not null,
    day              date not null,
    began            boolean not null,
    with_person      boolean not null,
    messages_in      bigint not null,
    replies_rule     bigint not null,
    replies_model    bigint not null,
    replies_person   bigint not null,
    hand_overs       jsonb not null,
    reopened         bigint not null,
    resolved         bigint not null,
    late_responses   bigint not null,
    late_resolutions bigint not null,
    opt_outs         bigint not null,
    returns          bigint not null,
    model_answers    bigint not null,
    model_tokens     bigint not null,
    model_cost_micros bigint not null,
    first_responses  double precision[] not null,
    resolutions      double precision[] not null,
    known            boolean not null,
    blocked          boolean not null,
    ticket_since     timestamptz,
    awaited_since    timestamptz,
    version          bigint not null,
    transaction_id   xid8 not null,
    position         bigint not null
) with (fillfactor = 70); -- rewritten with every page that touches the chat on that day
create unique index chat_days_stream on readmodel.chat_days (stream_id, day);
create index chat_days_day on readmodel.chat_days using brin (day) with (autosummarize = true);
comment on table readmodel.chat_days is 'What happened in each chat on each day, in UTC; readmodel.daily sums it up. A chat''s day never goes back, whatever clocks say.';
comment on column readmodel.chat_days.chat_day is 'The stream and the day: chat-demo:42/2026-11-21.';
comment on column readmodel.chat_days.stream_id is 'The stream the row is folded from.';
comment on column readmodel.chat_days.bot is 'Name of the bot.';
comment on column readmodel.chat_days.chat_id is 'Telegram''s chat id.';
comment on column readmodel.chat_days.day is 'The day, in UTC.';
comment on column readmodel.chat_days.began is 'The customer wrote for the first time.';
comment on column readmodel.chat_days.with_person is 'A person had the chat, or was fetched, at some time of the day.';
comment on column readmodel.chat_days.messages_in is 'Messages and pressed buttons of customers.';
comment on column readmodel.chat_days.replies_rule is 'Messages that the bot''s rules wrote.';
comment on column readmodel.chat_days.replies_model is 'Messages that a model wrote.';
comment on column readmodel.chat_days.replies_person is 'Messages that people wrote.';
comment on column readmodel.chat_days.hand_overs is 'How often a person was fetched, by reason: {"asked": 1}.';
comment on column readmodel.chat_days.reopened is 'Cases opened again.';
comment on column readmodel.chat_days.resolved is 'Cases closed.';
comment on column readmodel.chat_days.late_responses is 'Cases to which nobody had replied when it was due.';
comment on column readmodel.chat_days.late_resolutions is 'Cases that were not closed when it was due.';
comment on column readmodel.chat_days.opt_outs is 'How often the customer blocked the bot or removed it.';
comment on column readmodel.chat_days.returns is 'How often the customer came back after that.';
comment on column readmodel.chat_days.model_answers is 'Answers of a model, also those that were held back, or of no use any more.';
comment on column readmodel.chat_days.model_tokens is 'Tokens of their questions and answers.';
comment on column readmodel.chat_days.model_cost_micros is 'What they cost, in millionths of what the bot''s prices are in.';
comment on column readmodel.chat_days.first_responses is 'Seconds from opening or reopening a case to the first reply of a person, of each such reply of the day.';
comment on column readmodel.chat_days.resolutions is 'Seconds from opening or reopening a case to closing it, of each closed on the day.';
comment on column readmodel.chat_days.known is 'The customer has written, that day or earlier.';
comment on column readmodel.chat_days.blocked is 'At the end of the day the customer did not want messages from the bot.';
comment on column readmodel.chat_days.ticket_since is 'Since when the case has been open that was open at the end of the day; null when none was.';
comment on column readmodel.chat_days.awaited_since is 'Since when a person''s first reply had been awaited at the end of the day; null when none was.';
comment on column readmodel.chat_days.version is 'Version of the event that last changed the row.';
comment on column readmodel.chat_days.transaction_id is 'transaction_id of that event in the feed.';
comment on column readmodel.chat_days.position is 'position of that event in the feed.';

-- A condition on bot and day is handed down to each part, so that only those days are read; joins
-- would not do that.
create view readmodel.daily as
select bot, day,
       sum(chats)::bigint as conversations,
       sum(began)::bigint as began,
       sum(alone)::bigint as without_person,
       round(sum(alone) / nullif(sum(chats), 0), 4) as without_person_share,
       sum(messages_in)::bigint as messages_in,
       sum(replies_rule)::bigint as replies_rule,
       sum(replies_model)::bigint as replies_model,
       sum(replies_person)::bigint as replies_person,
       coalesce(sum(times), 0)::bigint as hand_overs,
       coalesce(jsonb_object_agg(reason, times) filter (where reason is not null), '{}') as hand_over_reasons,
       sum(reopened)::bigint as reopened,
       sum(resolved)::bigint as resolved,
       make_interval(secs => percentile_cont(0.5) within group (order by response)) as first_response_p50,
       make_interval(secs => percentile_cont(0.9) within group (order by response)) as first_response_p90,
       make_interval(secs => percentile_cont(0.95) within group (order by response)) as first_response_p95,
       make_interval(secs => percentile_cont(0.5) within group (order by resolution)) as resolution_p50,
       make_interval(secs => percentile_cont(0.9) within group (order by resolution)) as resolution_p90,
       make_interval(secs => percentile_cont(0.95) within group (order by resolution)) as resolution_p95,
       sum(late_responses)::bigint as late_responses,
       sum(late_resolutions)::bigint as late_resolutions,
       sum(opt_outs)::bigint as opt_outs,
       sum(returns)::bigint as returns,
       sum(model_answers)::bigint as model_answers,
       sum(model_tokens)::bigint as model_tokens,
       round(sum(model_cost_micros) / 1000000, 4) as model_cost
from (
    select bot, day, count(*) filter (where messages_in > 0) as chats, count(*) filter (where began) as began,
           count(*) filter (where messages_in > 0 and not with_person) as alone,
           sum(messages_in) as messages_in, sum(replies_rule) as replies_rule, sum(replies_model) as replies_model, sum(replies_person) as replies_person,
           sum(reopened) as reopened, sum(resolved) as resolved, sum(late_responses) as late_responses, sum(late_resolutions) as late_resolutions,
           sum(opt_outs) as opt_outs, sum(returns) as returns,
           sum(model_answers) as model_answers, sum(model_tokens) as model_tokens, sum(model_cost_micros) as model_cost_micros,
           null::text as reason, null::numeric as times, null::double precision as response, null::double precision as resolution
    from readmodel.chat_days group by bot, day
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           reason as reason, sum(times::bigint) as times, null::double precision as response, null::double precision as resolution
    from readmodel.chat_days, jsonb_each_text(hand_overs) as h (reason, times) group by bot, day, reason
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           null::text as reason, null::numeric as times, seconds as response, null::double precision as resolution
    from readmodel.chat_days, unnest(first_responses) as seconds
    union all
    select bot, day, 0 as chats, 0 as began, 0 as alone, 0 as messages_in, 0 as replies_rule, 0 as replies_model, 0 as replies_person,
           0 as reopened, 0 as resolved, 0 as late_responses, 0 as late_resolutions, 0 as opt_outs, 0 as returns,
           0 as model_answers, 0 as model_tokens, 0 as model_cost_micros,
           null::text as reason, null::numeric as times, null::double precision as response, seconds as resolution
    from readmodel.chat_days, unnest(resolutions) as seconds
) parts
group by bot, day;
comment on view readmodel.daily is 'Each bot''s day, in UTC. Give the days you want in the where clause.';
comment on column readmodel.daily.bot is 'Name of the bot.';
comment on column readmodel.daily.day is 'The day, in UTC.';
comment on column readmodel.daily.conversations is 'Chats in which the customer wrote or pressed a button.';
comment on column readmodel.daily.began is 'Chats in which they wrote for the first time.';
comment on column readmodel.daily.without_person is 'Conversations in which no person had a part that day.';
comment on column readmodel.daily.without_person_share is 'Their share of the conversations, 0 to 1; null when there were none.';
comment on column readmodel.daily.messages_in is 'Messages and pressed buttons of customers.';
comment on column readmodel.daily.replies_rule is 'Messages that the bot''s rules wrote.';
comment on column readmodel.daily.replies_model is 'Messages that a model wrote.';
comment on column readmodel.daily.replies_person is 'Messages that people wrote.';
comment on column readmodel.daily.hand_overs is 'How often a person was fetched.';
comment on column readmodel.daily.hand_over_reasons is 'How often for which reason: {"asked": 3, "not_understood": 1}.';
comment on column readmodel.daily.reopened is 'Cases opened again.';
comment on column readmodel.daily.resolved is 'Cases closed.';
comment on column readmodel.daily.first_response_p50 is 'Median time from opening a case to the first reply of a person, of the first replies of the day.';
comment on column readmodel.daily.first_response_p90 is '90th percentile of it.';
comment on column readmodel.daily.first_response_p95 is '95th percentile of it.';
comment on column readmodel.daily.resolution_p50 is 'Median time from opening a case to closing it, of those closed on the day.';
comment on column readmodel.daily.resolution_p90 is '90th percentile of it.';
comment on column readmodel.daily.resolution_p95 is '95th percentile of it.';
comment on column readmodel.daily.late_responses is 'Cases to which nobody had replied when it was due.';
comment on column readmodel.daily.late_resolutions is 'Cases that were not closed when it was due.';
comment on column readmodel.daily.opt_outs is 'How often customers blocked the bot or removed it.';
comment on column readmodel.daily.returns is 'How often customers came back after that.';
comment on column readmodel.daily.model_answers is 'Answers of a model, also those that were held back, or of no use any more.';
comment on column readmodel.daily.model_tokens is 'Tokens of their questions and answers.';
comment on column readmodel.daily.model_cost is 'What they cost, in what the bot''s prices are in.';
