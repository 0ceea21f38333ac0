-- Users of a metric in an arm and stratum, kept with the other totals: a look every five minutes must not count millions of rows for it.
alter table stratum_totals add column users bigint not null default 0;
update stratum_totals t set users = counted.users
  from (select experiment, metric, arm, stratum, count(*) as users from user_totals group by 1, 2, 3, 4) counted
 where (t.experiment, t.metric, t.arm, t.stratum) = (counted.experiment, counted.metric, counted.arm, counted.stratum);
alter table stratum_totals alter column users drop default;
