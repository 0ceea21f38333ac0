-- The ledger: every served request, its scores, and per user what the gate needs to judge (the contract of domain/gate/types.ts).
--
-- Every writing transaction first takes the next number of `ledger_state` and keeps that row's lock until it commits. So batches commit
-- in the order of their numbers, all rows of batches 1…n are visible as soon as n is (a watermark), and two movers never deadlock.
--
-- Values are fixed point: `ledgerValue(metric, value)` of domain/gate/metrics.ts, integers of 1e-6 (of the natural logarithm for latency,
-- ttft, tpot and cost). Integer sums do not depend on the order in which samples arrive.
--
-- Samples of requests without a user are kept in `samples` with arm and user_id null, and are in none of the statistics (invariant 12).

create type arm as enum ('stable', 'canary');

create table ledger_state (
  only_row boolean primary key default true check (only_row),
  -- Number of the last committed batch: the watermark.
  batch bigint not null default 0
);
insert into ledger_state default values;

-- What samples are compared within: an application's release, from its canary's start; release '' gathers the traffic outside any release,
-- from which a gate's baseline is planned.
create table experiments (
  id int generated always as identity primary key,
  application text not null,
  release text not null,
  unique (application, release)
);

-- Users as the gateway's keyed hashes; a small number stands for each in the tables below. Deleting a row forgets who it was.
create table ledger_users (
  id bigint generated always as identity primary key,
  key text not null unique
);

-- One row a request that was routed to an arm, answered or failed. Partitioned by day (UTC).
create table samples (
  -- The request's id, which the client has seen as x-request-id: UUID version 7.
  id uuid not null,
  -- When the request arrived, by the gateway's clock.
  at timestamptz not null,
  batch bigint not null,
  experiment int not null,
  tenant text not null,
  -- The arm assigned, whatever served (invariant 12); null together with user_id: no user, out of the gate.
  arm arm,
  user_id bigint,
  -- stratumId of domain/gate/strata.ts: from the canary's start, or from 1970 by UTC days outside a release.
  stratum int not null,
  -- Digest of the revision that served.
  revision text not null,
  endpoint text,
  -- HTTP status that the client got.
  status int not null,
  -- Why it failed or ended early; null: answered in full.
  reason text,
  -- Counts as an error for the gate.
  failed boolean not null,
  -- The client did not get all of it, as far as the gateway knows.
  interrupted boolean not null,
  streamed boolean not null,
  finish_reason text,
  violations int not null,
  -- Seconds; from arrival to the end, to the first content, and per token after the first.
  latency double precision not null,
  ttft double precision,
  tpot double precision,
  -- US dollars, from the engine's usage and the revision's price.
  cost double precision,
  prompt_tokens int,
  completion_tokens int,
  cached_tokens int,
  check ((arm is null) = (user_id is null)),
  primary key (id, at)
) partition by range (at);
create index samples_by_experiment on samples (experiment, batch);

-- Scores of requests, 0–1, one for each evaluator. `batch` null: the sample has not arrived yet; its own transaction attaches the score.
create table scores (
  request_id uuid not null,
  evaluator text not null,
  score double precision not null check (score >= 0 and score <= 1),
  at timestamptz not null default now(),
  -- Who gave it: '' is Slipway's own evaluator; a tenant's score is attached only to a sample of that tenant, so that nobody can score
  -- or occupy the requests of others.
  tenant text not null default '',
  batch bigint,
  primary key (request_id, evaluator, tenant)
);
create unique index scores_attached on scores (request_id, evaluator) where batch is not null;

-- What a tenant's people said about an answer; its score is in `scores` as the evaluator `feedback`.
create table feedback (
  request_id uuid not null,
  tenant text not null,
  at timestamptz not null default now(),
  score double precision not null,
  comment text,
  primary key (request_id, tenant)
);

-- Answers waiting for the online evaluator. Neither arm nor release nor revision: the judge is blind (invariant 12).
create table scoring_queue (
  request_id uuid primary key,
  application text not null,
  input text not null,
  output text not null,
  enqueued_at timestamptz not null default now(),
  claimed_until timestamptz
);
create index scoring_queue_by_age on scoring_queue (enqueued_at);

-- ---- per user ------------------------------------------------------------------------------------------------------------------------
-- Partitioned by experiment, so that a judgement scans its own release only.

create table experiment_users (
  experiment int not null,
  user_id bigint not null,
  stable_requests int not null,
  canary_requests int not null,
  -- Stratum of the user's first request of the experiment.
  first_stratum int not null,
  -- Stratum and arm of the first failed one.
  first_error_stratum int,
  first_error_arm arm,
  primary key (experiment, user_id)
) partition by list (experiment);

-- Every request of a user in an arm and stratum. `error` and `violation` have a value in every request, so their n is `requests`.
create table user_strata (
  experiment int not null,
  user_id bigint not null,
  stratum int not null,
  arm arm not null,
  requests int not null,
  -- Requests that failed, that violated a guardrail.
  errors int not null,
  violations int not null,
  latency_n int not null,
  ttft_n int not null,
  tpot_n int not null,
  cost_n int not null,
  latency_sum bigint not null,
  ttft_sum bigint not null,
  tpot_sum bigint not null,
  cost_sum bigint not null,
  primary key (experiment, user_id, stratum, arm)
) partition by list (experiment);

create table user_scores (
  experiment int not null,
  evaluator text not null,
  user_id bigint not null,
  stratum int not null,
  arm arm not null,
  n int not null,
  sum bigint not null,
  primary key (experiment, evaluator, user_id, stratum, arm)
) partition by list (experiment);

-- Histograms of latency, ttft and tpot: bucketOf of domain/gate/histogram.ts.
create table user_buckets (
  experiment int not null,
  metric text not null,
  arm arm not null,
  stratum int not null,
  bucket smallint not null,
  user_id bigint not null,
  n int not null,
  -- With n, so that the tail beyond a percentile is read from the index alone.
  primary key (experiment, metric, arm, stratum, bucket, user_id) include (n)
) partition by list (experiment);

-- All of a user's sums in one shape. `where experiment = … and metric = 'latency'` reads one branch only.
create view user_totals as
  select experiment, 'error' as metric, arm, stratum, user_id, requests as n, errors * 1000000::bigint as sum from user_strata
  union all
  select experiment, 'violation', arm, stratum, user_id, requests, violations * 1000000::bigint from user_strata
  union all
  select experiment, 'latency', arm, stratum, user_id, latency_n, latency_sum from user_strata where latency_n > 0
  union all
  select experiment, 'ttft', arm, stratum, user_id, ttft_n, ttft_sum from user_strata where ttft_n > 0
  union all
  select experiment, 'tpot', arm, stratum, user_id, tpot_n, tpot_sum from user_strata where tpot_n > 0
  union all
  select experiment, 'cost', arm, stratum, user_id, cost_n, cost_sum from user_strata where cost_n > 0
  union all
  select experiment, 'quality:' || evaluator, arm, stratum, user_id, n, sum from user_scores;

-- ---- summed over users, kept beside in the same transactions ---------------------------------------------------------------------------

create table stratum_totals (
  experiment int not null,
  metric text not null,
  arm arm not null,
  stratum int not null,
  n bigint not null,
  sum numeric not null,
  squares numeric not null,
  primary key (experiment, metric, arm, stratum)
) with (fillfactor = 50);

create table stratum_buckets (
  experiment int not null,
  metric text not null,
  arm arm not null,
  stratum int not null,
  bucket smallint not null,
  n bigint not null,
  primary key (experiment, metric, arm, stratum, bucket)
) with (fillfactor = 50);

-- Values that could not be used, by why (`UnusableReason`): none vanishes silently.
create table unusable_samples (
  experiment int not null,
  metric text not null,
  arm arm not null,
  reason text not null,
  n bigint not null,
  primary key (experiment, metric, arm, reason)
);

-- ---- partitions ------------------------------------------------------------------------------------------------------------------------
-- A partition is made as a table of its own and then attached, because that locks out neither readers nor writers of the others.
-- Callers hold the lock of `ledger_state`, so that racing movers make each once.

create function open_partition(parent text, partition text, bounds text) returns void language plpgsql as $$
begin
  if to_regclass(partition) is null then
    execute format('create table %I (like %I including all)', partition, parent);
    execute format('alter table %I attach partition %I for values %s', parent, partition, bounds);
  end if;
end $$;

create function open_day(day date) returns void language plpgsql as $$
begin
  perform open_partition('samples', 'samples_' || to_char(day, 'YYYYMMDD'),
    format('from (%L) to (%L)', day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'));
end $$;

create function open_experiment(of_application text, of_release text) returns int language plpgsql as $$
declare
  experiment int;
  parent text;
begin
  select id into experiment from experiments where application = of_application and release = of_release;
  if experiment is null then
    insert into experiments (application, release) values (of_application, of_release) returning id into experiment;
    foreach parent in array array['experiment_users', 'user_strata', 'user_scores', 'user_buckets'] loop
      perform open_partition(parent, parent || '_' || experiment, format('in (%s)', experiment));
    end loop;
  end if;
  return experiment;
end $$;
