-- What the reaper finds: servings that run and that no route and no active release needs.

create table unneeded_servings (
  id bigint generated always as identity primary key,
  serving text not null,
  name text not null,
  -- The servings table has it; an orphan of a lost database is reported too.
  known boolean not null,
  -- Who first asked for it.
  application text,
  release text,
  gpus int not null check (gpus >= 0),
  -- When a run first saw it so, by Temporal's clock: the grace counts from here, and so do the GPU hours wasted.
  since timestamptz not null,
  seen_at timestamptz not null,
  ended_at timestamptz,
  ending text check (ending in ('removed', 'needed', 'gone')),
  check ((ended_at is null) = (ending is null))
);
create unique index unneeded_servings_now on unneeded_servings (serving) where ended_at is null;
create index unneeded_servings_by_end on unneeded_servings (ended_at);

-- One row: the last run.
create table reaper_runs (
  only_row boolean primary key default true check (only_row),
  ran_at timestamptz not null,
  dry_run boolean not null,
  grace_ms bigint not null
);
