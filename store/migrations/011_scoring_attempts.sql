-- How often a judge that scored others had no score for the answer; after some times it is set aside.
alter table scoring_queue add column attempts int not null default 0;
