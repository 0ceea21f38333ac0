-- What a serving is to be now, beside what it is: how many replicas, by which rule, and who first asked for it.
alter table servings
  -- Left out: those that carry the whole traffic (runtime.replicas).
  add column replicas int check (replicas >= 0),
  add column scaling jsonb,
  add column origin jsonb;
