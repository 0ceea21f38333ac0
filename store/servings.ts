import { SlipwayError } from '../domain/errors.ts';
import { defaultScaling } from '../domain/policy/policy.ts';
import type { Restarts } from '../domain/serving/restarts.ts';
import type { Carried, NotedLoad } from '../domain/serving/scaling.ts';
import {
  type ScalingPolicy,
  type Serving,
  type ServingOrigin,
  servingName,
  type WantedServing,
} from '../domain/serving/serving.ts';
import { type Database, inTransaction, type Queryable, type Transaction } from './database.ts';
import { setEndpoints } from './routes.ts';
import { Turns } from './turns.ts';

export interface ServingRow extends WantedServing {
  /** Base URLs of ready replicas as the gateways were told. */
  endpoints: string[];
}

const columns = `digest, model, runtime, dedicated_to as "dedicatedTo", endpoints, origin,
  coalesce(replicas, (runtime ->> 'replicas')::int) as replicas, coalesce(scaling, '${JSON.stringify(defaultScaling)}') as scaling`;

/** What a release says of a serving, besides what it is. */
export interface ServingTerms {
  scaling: ScalingPolicy;
  origin: ServingOrigin;
}

/**
 * Stores what a serving is, under its digest. The model's price and architecture are not part of the digest: the last ones stand. Its
 * terms are those of the release that brought it up.
 * @returns whether it answers. In a transaction it goes on answering until the end of that: see `withdrawUnneeded`
 */
export async function saveServing(db: Queryable, serving: Serving, terms?: ServingTerms): Promise<boolean> {
  const { rows } = await db.query<{ answers: boolean }>(
    `insert into servings as s (digest, model, runtime, dedicated_to, scaling, origin) values ($1, $2, $3, $4, $5, $6)
     on conflict (digest) do update set model = excluded.model, updated_at = now(),
       scaling = case when s.endpoints = '[]' then excluded.scaling else s.scaling end,
       origin = case when s.endpoints = '[]' then excluded.origin else s.origin end
     returning endpoints <> '[]' as answers`,
    [
      serving.digest,
      JSON.stringify(serving.model),
      JSON.stringify(serving.runtime),
      serving.dedicatedTo,
      terms === undefined ? null : JSON.stringify(terms.scaling),
      terms === undefined ? null : JSON.stringify(terms.origin),
    ],
  );
  await setPrice(db, serving);
  return rows[0]?.answers === true;
}

/**
 * What a token costs follows from the model and its flags: the last price that was said of them holds for each of their servings, also for
 * one that is dedicated to a release. So a corrected price is no difference between a release's arms.
 */
async function setPrice(db: Queryable, { model, runtime }: Serving): Promise<void> {
  await db.query(
    `update servings set model = jsonb_set(model, '{price}', $3::jsonb)
      where model ->> 'name' = $1 and runtime = $2::jsonb and model -> 'price' <> $3::jsonb`,
    [model.name, JSON.stringify(runtime), JSON.stringify(model.price)],
  );
}

/** Sets how many replicas the serving is to have; the adapter makes it so at its next apply. What was low at another size does not count. */
export async function setReplicas(db: Queryable, digest: string, replicas: number): Promise<void> {
  await db.query(
    'update servings set replicas = $2, low_since = null, low_seen = null, updated_at = now() where digest = $1',
    [digest, replicas],
  );
}

export async function findServing(db: Queryable, digest: string): Promise<ServingRow | null> {
  const { rows } = await db.query<ServingRow>(`select ${columns} from servings where digest = $1`, [digest]);
  return rows[0] ?? null;
}

/** @throws SlipwayError NOT_FOUND */
export async function getServing(db: Queryable, digest: string): Promise<ServingRow> {
  const serving = await findServing(db, digest);
  if (serving === null) {
    throw new SlipwayError('NOT_FOUND', `there is no serving ${digest}`, { field: 'serving', value: digest });
  }
  return serving;
}

/** The servings that routes point to, whatever their weight: these must run. */
export async function routedServings(db: Queryable): Promise<ServingRow[]> {
  const { rows } = await db.query<ServingRow>(
    `select ${columns} from servings where digest in (
       select v.content ->> 'serving' from routes r join revisions v on v.digest in (r.stable, r.canary))
     order by digest`,
  );
  return rows;
}

/** Who still needs a serving. */
export interface ServingUse {
  /** Applications whose route points to it on either arm. */
  applications: string[];
  /** Active releases, other than the one that asks, whose candidate or stable revision needs it. */
  releases: string[];
}

/** @param except the release that asks, which does not count; null: every active release counts */
export async function usesOfServing(
  db: Queryable,
  digest: string,
  except: string | null,
): Promise<ServingUse> {
  const { rows } = await db.query<ServingUse>(
    `select
       array(select r.application from routes r join revisions v on v.digest in (r.stable, r.canary)
              where v.content ->> 'serving' = $1 group by 1 order by 1) as applications,
       array(select r.id from releases r join revisions v on v.digest in (r.stable, r.candidate)
              where r.ended_at is null and r.id is distinct from $2 and v.content ->> 'serving' = $1
              group by 1 order by 1) as releases`,
    [digest, except],
  );
  return rows[0] ?? { applications: [], releases: [] };
}

/**
 * Takes the endpoints of a serving that nobody needs from the gateways. A release that is being registered and wants this very serving is
 * either seen here, because it has the serving's row first, or it sees that the serving answers no more and starts it again.
 * @returns who needs it; nobody: no gateway is told of it any more
 */
export async function withdrawUnneeded(
  db: Database,
  digest: string,
  except: string | null,
): Promise<ServingUse> {
  return inTransaction(db, async (tx) => {
    await tx.query('select 1 from servings where digest = $1 for update', [digest]);
    const uses = await usesOfServing(tx, digest, except);
    if (uses.applications.length + uses.releases.length === 0) await setEndpoints(tx, digest, []);
    return uses;
  });
}

/**
 * Notes the weight that an active release is moving its candidate to, so that the candidate's serving is sized for it; a late attempt of
 * an earlier move changes nothing.
 * @param move number of the move; null: before the first one, which only raises it
 */
export async function askForWeight(
  db: Queryable,
  release: string,
  weight: number,
  move: number | null,
): Promise<void> {
  await db.query(
    `update releases set desired_weight = case when $3::int is null then greatest(desired_weight, $2) else $2 end
      where id = $1 and ended_at is null and last_move <= coalesce($3, last_move)`,
    [release, weight, move],
  );
}

/** What each application asks of the serving now, by its route and by its active release. */
export async function carriedBy(db: Queryable, digest: string): Promise<Carried[]> {
  const { rows } = await db.query<Carried>(
    `select application, bool_or(stable) as stable, max(observed) as observed, max(desired) as desired from (
       select r.application, s.content ->> 'serving' = $1 as stable, c.digest is not null as canary,
              case when c.digest is null then 0 else r.weight end as observed, 0 as desired
         from routes r join revisions s on s.digest = r.stable
         left join revisions c on c.digest = r.canary and c.content ->> 'serving' = $1
       union all
       select l.application, false, true, 0, l.desired_weight
         from releases l join revisions v on v.digest = l.candidate
        where l.ended_at is null and l.desired_weight > 0 and v.content ->> 'serving' = $1
     ) as uses where stable or canary group by application order by application`,
    [digest],
  );
  return rows;
}

/** The load as some worker noted it last; null: nobody has. */
export async function notedLoad(db: Queryable, digest: string): Promise<NotedLoad | null> {
  const { rows } = await db.query<NotedLoad>(
    `select load, (extract(epoch from clock_timestamp() - load_at) * 1000)::double precision as ago
       from servings where digest = $1 and load is not null`,
    [digest],
  );
  return rows[0] ?? null;
}

export async function noteLoad(db: Queryable, digest: string, load: number): Promise<void> {
  await db.query('update servings set load = $2, load_at = clock_timestamp() where digest = $1', [
    digest,
    load,
  ]);
}

/** A gap between two looks, in ms, after which what was low before no longer counts. */
const LOW_GAP_MS = 60_000;

/**
 * Notes whether this look found the serving's utilisation low; by the database's clock, for every worker.
 * @returns how long, in ms, every look has found it so; 0: this one did not, or is the first
 */
export async function noteUtilisation(db: Queryable, digest: string, low: boolean): Promise<number> {
  if (!low) {
    await forgetLow(db, digest);
    return 0;
  }
  const { rows } = await db.query<{ lowFor: number }>(
    `update servings set low_seen = clock_timestamp(), low_since =
            case when low_seen > clock_timestamp() - $2 * interval '1 millisecond' then coalesce(low_since, clock_timestamp())
                 else clock_timestamp() end
      where digest = $1 returning (extract(epoch from low_seen - low_since) * 1000)::double precision as "lowFor"`,
    [digest, LOW_GAP_MS],
  );
  return Math.max(0, rows[0]?.lowFor ?? 0);
}

async function forgetLow(db: Queryable, digest: string): Promise<void> {
  await db.query(
    'update servings set low_since = null, low_seen = null where digest = $1 and low_since is not null',
    [digest],
  );
}

export async function restartsOf(db: Queryable, digest: string): Promise<Restarts> {
  const { rows } = await db.query<Restarts>(
    `select restarts as count, (extract(epoch from clock_timestamp() - restarted_at) * 1000)::double precision as last
       from servings where digest = $1`,
    [digest],
  );
  return rows[0] ?? { count: 0, last: null };
}

/** Notes that a failed serving is started afresh, the `count`th time. */
export async function noteRestart(db: Queryable, digest: string, count: number): Promise<void> {
  await db.query('update servings set restarts = $2, restarted_at = clock_timestamp() where digest = $1', [
    digest,
    count,
  ]);
}

/** Waiting for longer, in ms, tells its caller to try again later. */
const TURN_MS = 20_000;

/** Of each pool a third of its connections: whoever holds a lock uses two, and the last third is for everything else. */
const turnsOf = new WeakMap<Database, Turns>();

/**
 * Runs `work` while nobody else creates or removes the serving: what decides about a serving and what acts on the decision must not be
 * parted by another worker. A lock costs a connection for as long as the work waits for a cluster; so only some are held or waited for at
 * once, that a cluster which hangs cannot take the connections with which an abort moves traffic (invariant 5).
 * @throws SlipwayError DEPENDENCY_UNAVAILABLE when its turn does not come, or another worker holds the lock for longer; the work was not
 * begun
 */
export async function withServingLock<T>(
  db: Database,
  digest: string,
  work: (tx: Transaction) => Promise<T>,
  withinMs = TURN_MS,
): Promise<T> {
  const turns = turnsOf.get(db) ?? new Turns(Math.max(1, Math.floor((db.options.max ?? 10) / 3)));
  turnsOf.set(db, turns);
  return turns.take(withinMs, () =>
    inTransaction(db, async (tx) => {
      await lockServing(tx, digest, withinMs);
      return work(tx);
    }),
  );
}

/** Postgres' lock_not_available: a wait for a lock was longer than lock_timeout. */
const LOCK_NOT_AVAILABLE = '55P03';

async function lockServing(tx: Transaction, digest: string, withinMs: number): Promise<void> {
  await tx.query(`select set_config('lock_timeout', $1, true)`, [`${withinMs}ms`]);
  try {
    await tx.query(`select pg_advisory_xact_lock(hashtextextended('slipway serving ' || $1, 0))`, [digest]);
  } catch (error) {
    if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error;
    throw new SlipwayError('DEPENDENCY_UNAVAILABLE', 'another worker has the serving in hand for too long', {
      field: 'serving',
      value: servingName(digest),
      remedy:
        'It is tried again by itself; look at the cluster, and at the log of the other workers, if that goes on',
    });
  }
}
