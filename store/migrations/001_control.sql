-- The control plane's tables: what was pushed, what serves, where traffic goes, which releases there are.

create table applications (
  name text primary key,
  created_at timestamptz not null default now()
);

-- Immutable, numbered texts: one table a kind, each version by name@n and by digest.
create table prompt_versions (
  name text not null,
  version int not null,
  digest text not null,
  -- json and not jsonb: the order of an output schema's properties counts, and the digest covers it.
  content json not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (name, version),
  unique (name, digest)
);

create table golden_sets (
  name text not null,
  version int not null,
  digest text not null,
  content jsonb not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (name, version),
  unique (name, digest)
);

create table guardrail_configs (
  name text not null,
  version int not null,
  digest text not null,
  content jsonb not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (name, version),
  unique (name, digest)
);

create table revisions (
  digest text primary key,
  content jsonb not null,
  created_at timestamptz not null default now()
);

create table servings (
  digest text primary key,
  model jsonb not null,
  runtime jsonb not null,
  dedicated_to text,
  -- Base URLs of ready replicas; empty: not serving.
  endpoints jsonb not null default '[]',
  updated_at timestamptz not null default now()
);

-- One row: every change of a route or of endpoints takes the next generation under its lock, so that generations commit in order
-- and a gateway that has read generation g has seen every change up to g.
create table route_state (
  only_row boolean primary key default true check (only_row),
  generation bigint not null default 0
);
insert into route_state default values;

create table routes (
  application text primary key references applications (name),
  generation bigint not null,
  release text,
  weight double precision not null check (weight >= 0 and weight <= 1),
  -- Counts the moves of the release. A late attempt of an earlier move is refused by it.
  phase int not null,
  stable text not null references revisions (digest),
  canary text references revisions (digest),
  scored_share double precision not null default 0 check (scored_share >= 0 and scored_share <= 1),
  stratum_ms bigint not null,
  canary_since timestamptz,
  check (canary is not null or weight = 0)
);

create table gateways (
  id text primary key,
  -- Written by the database's clock: the lease does not depend on the gateways' clocks.
  renewed_at timestamptz not null,
  acknowledged bigint not null,
  -- The oldest generation that a request still in flight was routed by: GPUs are freed when nothing older is left.
  oldest_in_flight bigint not null
);

create table release_specs (
  digest text primary key,
  content jsonb not null,
  created_at timestamptz not null default now()
);

create table releases (
  id text primary key,
  application text not null references applications (name),
  workflow_id text not null,
  requester text not null,
  spec text not null references release_specs (digest),
  candidate text not null references revisions (digest),
  stable text references revisions (digest),
  created_at timestamptz not null default now(),
  stage text not null default 'registering',
  phase text not null default 'Progressing',
  -- Sequence of the workflow's progress that is mirrored here.
  sequence int not null default 0,
  -- Number of the last move of traffic; fences late attempts of earlier ones.
  last_move int not null default -1,
  reason text,
  canary_since timestamptz,
  ended_at timestamptz
);
-- Invariant 1: at most one active release per application, whoever races.
create unique index releases_one_active on releases (application) where ended_at is null;

-- What happened, in order: stage changes, weights, decisions, refusals, notices. Append-only. `name` makes each entry happen once.
create table release_events (
  id bigint generated always as identity primary key,
  release text not null,
  name text not null,
  at timestamptz not null,
  actor text not null,
  kind text not null,
  details jsonb not null,
  unique (release, name)
);

create table evaluation_results (
  release text not null,
  case_index int not null,
  result jsonb not null,
  primary key (release, case_index)
);

create table gate_plans (
  release text primary key,
  digest text not null,
  plan text not null
);

-- Every look of the week, guards and gate alike. `attempt` names it, so that a repeated attempt writes it once.
create table looks (
  release text not null,
  at timestamptz not null,
  kind text not null,
  look jsonb not null,
  primary key (release, kind, at)
);

-- A verdict with its evidence as canonical JSON text, byte for byte what was digested.
-- Two releases may come to the same verdict, and so to the same digest.
create table evidence (
  release text not null,
  horizon int not null,
  digest text not null,
  watermark bigint not null,
  verdict text not null,
  primary key (release, horizon)
);

-- Keys of the control plane's API and of the gateway's tenants; only hashes are kept.
create table api_keys (
  hash text primary key,
  name text not null,
  role text not null check (role in ('engineer', 'approver', 'auditor', 'admin')),
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);

create table tenant_keys (
  hash text primary key,
  tenant text not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
