import { canonicalJson } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import type { PromptContent } from '../domain/prompt/prompt.ts';
import type { Revision } from '../domain/revision.ts';
import {
  type ArmTarget,
  GATEWAY_LEASE_MS,
  GATEWAY_STABLE_ONLY_MS,
  type RouteTable,
} from '../domain/routing.ts';
import type { ModelSpec } from '../domain/serving/serving.ts';
import { type Database, inTransaction, type Queryable, type Transaction } from './database.ts';

/** Channel of NOTIFY; the payload is the new generation. */
export const ROUTES_CHANNEL = 'slipway_routes';

/** One application's row of the route table, by reference. */
export interface RouteRow {
  application: string;
  generation: number;
  release: string | null;
  weight: number;
  phase: number;
  stable: string;
  canary: string | null;
  scoredShare: number;
  stratumMs: number;
  canarySince: Date | null;
}

const routeColumns = `application, generation, release, weight, phase, stable, canary, scored_share as "scoredShare",
  stratum_ms as "stratumMs", canary_since as "canarySince"`;

export async function findRoute(db: Queryable, application: string): Promise<RouteRow | null> {
  const { rows } = await db.query<RouteRow>(`select ${routeColumns} from routes where application = $1`, [
    application,
  ]);
  return rows[0] ?? null;
}

/** Takes the next generation; the row lock makes generations commit in order. */
async function nextGeneration(tx: Transaction): Promise<number> {
  const { rows } = await tx.query<{ generation: number }>(
    'update route_state set generation = generation + 1 returning generation',
  );
  const generation = rows[0]?.generation;
  if (generation === undefined) throw new SlipwayError('INTERNAL', 'route_state has lost its row');
  await tx.query(`select pg_notify('${ROUTES_CHANNEL}', $1)`, [String(generation)]);
  return generation;
}

export type NewRoute = Omit<RouteRow, 'generation'>;

/**
 * Moves an application's traffic by compare-and-set on the generation that the writer has read; `expected` null: there was no route.
 * Writing what already stands changes nothing, so that a repeated attempt is one effect (invariants 2 and 6). `fence` runs in the same
 * transaction, before the write: what it refuses is not written, and what it locks stays locked until the route stands.
 * @returns the generation in which the route stands so
 * @throws SlipwayError ROUTE_CONFLICT when the route has moved since, or belongs to another release
 */
export async function moveTraffic(
  db: Database,
  route: NewRoute,
  expected: number | null,
  fence: (tx: Transaction) => Promise<void> = async () => {},
): Promise<number> {
  return inTransaction(db, async (tx) => {
    await fence(tx);
    const standing = await findRoute(tx, route.application);
    if (standing !== null && sameRoute(standing, route)) return standing.generation;
    const generation = await nextGeneration(tx);
    const values = [
      route.application,
      generation,
      route.release,
      route.weight,
      route.phase,
      route.stable,
      route.canary,
      route.scoredShare,
      route.stratumMs,
      route.canarySince,
    ];
    const { rowCount } =
      expected === null
        ? await tx.query(
            `insert into routes (application, generation, release, weight, phase, stable, canary, scored_share, stratum_ms, canary_since)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing`,
            values,
          )
        : await tx.query(
            `update routes set generation = $2, release = $3, weight = $4, phase = $5, stable = $6, canary = $7, scored_share = $8,
               stratum_ms = $9, canary_since = $10 where application = $1 and generation = $11`,
            [...values, expected],
          );
    if (rowCount !== 1) {
      throw new SlipwayError(
        'ROUTE_CONFLICT',
        `the route of ${route.application} has moved since it was read`,
        {
          field: 'generation',
          value: expected,
          remedy: 'Read the route again; another writer was first',
        },
      );
    }
    return generation;
  });
}

function sameRoute({ generation: _, ...standing }: RouteRow, wanted: NewRoute): boolean {
  return canonicalJson(standing) === canonicalJson(wanted);
}

/** Tells the gateways where a serving answers now; an unchanged list makes no new generation. */
export async function publishEndpoints(db: Database, serving: string, endpoints: string[]): Promise<void> {
  await inTransaction(db, (tx) => setEndpoints(tx, serving, endpoints));
}

/** The same in the caller's transaction. */
export async function setEndpoints(tx: Transaction, serving: string, endpoints: string[]): Promise<void> {
  const { rowCount } = await tx.query(
    'update servings set endpoints = $2, updated_at = now() where digest = $1 and endpoints <> $2::jsonb',
    [serving, JSON.stringify([...endpoints].sort())],
  );
  if (rowCount === 1) await nextGeneration(tx);
}

/** Generation of the table, without reading it. */
export async function readGeneration(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ generation: number }>('select generation from route_state');
  return rows[0]?.generation ?? 0;
}

interface TableRow extends RouteRow {
  tableGeneration: number;
  targets: {
    arm: 'stable' | 'canary';
    revision: Revision;
    prompt: PromptContent;
    /** Of its serving; null: it has none. */
    price: ModelSpec['price'] | null;
    endpoints: string[];
  }[];
}

/**
 * The whole table in one snapshot, with everything that a gateway needs to serve from it alone. Each gateway reads it at each generation, so
 * its cost must grow with the routes and not with what was ever pushed: all its joins are by primary keys.
 */
export async function readRouteTable(db: Queryable): Promise<RouteTable> {
  const { rows } = await db.query<TableRow | { tableGeneration: number; application: null }>(
    `select s.generation as "tableGeneration", r.application, r.generation, r.release, r.weight, r.phase, r.stable, r.canary,
            r.scored_share as "scoredShare", r.stratum_ms as "stratumMs", r.canary_since as "canarySince",
            (select json_agg(json_build_object('arm', arm.name, 'revision', v.content, 'prompt', p.content,
                                                 'price', e.model -> 'price', 'endpoints', coalesce(e.endpoints, '[]'::jsonb)))
               from (values ('stable', r.stable), ('canary', r.canary)) as arm (name, digest)
               join revisions v on v.digest = arm.digest
               join prompt_versions p on p.name = split_part(v.content ->> 'prompt', '@', 1)
                                     and p.version = split_part(v.content ->> 'prompt', '@', 2)::int
               left join servings e on e.digest = v.content ->> 'serving') as targets
       from route_state s left join routes r on true`,
  );
  const table: RouteTable = { generation: rows[0]?.tableGeneration ?? 0, routes: {} };
  for (const row of rows) {
    if (row.application === null) continue;
    const target = (arm: 'stable' | 'canary'): ArmTarget | null => {
      const found = row.targets.find((candidate) => candidate.arm === arm);
      if (found === undefined) return null;
      return {
        revision: found.revision.digest,
        prompt: found.prompt,
        promptRef: found.revision.prompt,
        model: { ...found.revision.model, price: found.price ?? found.revision.model.price },
        servedModel: found.revision.model.name,
        serving: found.revision.serving,
        endpoints: found.endpoints,
      };
    };
    const stable = target('stable');
    if (stable === null)
      throw new SlipwayError('INTERNAL', `the stable revision of ${row.application} is gone`);
    table.routes[row.application] = {
      application: row.application,
      release: row.release,
      weight: row.weight,
      phase: row.phase,
      stable,
      canary: target('canary'),
      scoredShare: row.scoredShare,
      stratumMs: row.stratumMs,
      canarySince: row.canarySince?.getTime() ?? null,
    };
  }
  return table;
}

/** Renews a gateway's lease: the generation by which it routes new requests, and the oldest by which one in flight was routed. */
export async function renewLease(
  db: Queryable,
  gateway: string,
  acknowledged: number,
  oldestInFlight: number = acknowledged,
): Promise<void> {
  await db.query(
    `insert into gateways (id, renewed_at, acknowledged, oldest_in_flight) values ($1, now(), $2, $3)
     on conflict (id) do update
       set renewed_at = now(), acknowledged = excluded.acknowledged, oldest_in_flight = excluded.oldest_in_flight`,
    [gateway, acknowledged, oldestInFlight],
  );
}

/** A gateway that has drained and serves nothing any more. */
export async function dropLease(db: Queryable, gateway: string): Promise<void> {
  await db.query('delete from gateways where id = $1', [gateway]);
}

export interface Acknowledgement {
  /** Gateways whose lease is live, and those of them that have not acknowledged the generation. */
  live: number;
  lagging: string[];
  /** Live gateways with a request in flight that was routed by an older generation. */
  draining: string[];
  /** Gateways without a live lease that may still serve an older table: less than the stable-only time has passed. */
  lingering: string[];
}

/** Who has acknowledged a generation; judged by the database's clock. */
export async function acknowledgementOf(db: Queryable, generation: number): Promise<Acknowledgement> {
  const { rows } = await db.query<{ id: string; live: boolean; behind: boolean; draining: boolean }>(
    `select id, renewed_at > now() - $2 * interval '1 millisecond' as live, acknowledged < $1 as behind,
            oldest_in_flight < $1 as draining
       from gateways where renewed_at > now() - $3 * interval '1 millisecond'`,
    [generation, GATEWAY_LEASE_MS, GATEWAY_STABLE_ONLY_MS + GATEWAY_LEASE_MS],
  );
  return {
    live: rows.filter((row) => row.live).length,
    lagging: rows.filter((row) => row.live && row.behind).map((row) => row.id),
    draining: rows.filter((row) => row.live && row.draining).map((row) => row.id),
    lingering: rows.filter((row) => !row.live && row.behind).map((row) => row.id),
  };
}
