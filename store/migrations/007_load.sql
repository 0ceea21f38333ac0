-- The serving's load in replicas, smoothed over the looks of all workers, and when it was noted; by the database's clock.
alter table servings
  add column load double precision,
  add column load_at timestamptz;
