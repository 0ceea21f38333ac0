import { SlipwayError } from '../domain/errors.ts';
import { defaultScaling } from '../domain/policy/policy.ts';
import type { ScalingPolicy, Serving, ServingOrigin, WantedServing } from '../domain/serving/serving.ts';
import { type Database, inTransaction, type Queryable, type Transaction } from './database.ts';

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
 */
export async function saveServing(db: Queryable, serving: Serving, terms?: ServingTerms): Promise<void> {
  await db.query(
    `insert into servings as s (digest, model, runtime, dedicated_to, scaling, origin) values ($1, $2, $3, $4, $5, $6)
     on conflict (digest) do update set model = excluded.model, updated_at = now(),
       scaling = case when s.endpoints = '[]' then excluded.scaling else s.scaling end,
       origin = case when s.endpoints = '[]' then excluded.origin else s.origin end`,
    [
      serving.digest,
      JSON.stringify(serving.model),
      JSON.stringify(serving.runtime),
      serving.dedicatedTo,
      terms === undefined ? null : JSON.stringify(terms.scaling),
      terms === undefined ? null : JSON.stringify(terms.origin),
    ],
  );
}

/** Sets how many replicas the serving is to have; the adapter makes it so at its next apply. */
export async function setReplicas(db: Queryable, digest: string, replicas: number): Promise<void> {
  await db.query('update servings set replicas = $2, updated_at = now() where digest = $1', [
    digest,
    replicas,
  ]);
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
 * Runs `work` while nobody else creates or removes the serving: what decides about a serving and what acts on the decision must not be
 * parted by another worker.
 */
export async function withServingLock<T>(
  db: Database,
  digest: string,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  return inTransaction(db, async (tx) => {
    await tx.query(`select pg_advisory_xact_lock(hashtextextended('slipway serving ' || $1, 0))`, [digest]);
    return work(tx);
  });
}

/** The generation of the route table as it stands. */
export async function routeGeneration(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ generation: number }>('select generation from route_state');
  return rows[0]?.generation ?? 0;
}
