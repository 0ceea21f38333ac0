-- What scaling must remember beyond one worker's life, by the database's clock.
alter table servings
  -- Since when every look has found the serving's utilisation low; null: the last look did not.
  add column low_since timestamptz,
  -- When it was last found so: after a longer gap nobody knows, and the while begins anew.
  add column low_seen timestamptz,
  -- How often a failed serving was started afresh, and when last: a crash loop is answered with growing pauses.
  add column restarts int not null default 0 check (restarts >= 0),
  add column restarted_at timestamptz;

-- The weight that the release is moving its candidate to: the candidate's serving is sized for it before the route has it.
alter table releases
  add column desired_weight double precision not null default 0 check (desired_weight >= 0 and desired_weight <= 1);
