-- When a verdict was made: samples that are dated later than that show a wrong clock. Verdicts from before this column were made by now.
alter table evidence add column judged_at timestamptz;
update evidence set judged_at = now();
alter table evidence alter column judged_at set not null;
