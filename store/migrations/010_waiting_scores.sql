-- Scores that wait for their sample, by age: those that match none are forgotten after a while.
create index scores_waiting on scores (at) where batch is null;
