import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { figuresAsJson } from '../../domain/gate/evidence.ts';
import { influenceRequests } from '../../domain/gate/influence.ts';
import { stratumId } from '../../domain/gate/strata.ts';
import { defaultGatePolicy, type GateFigures, type InfluenceRow } from '../../domain/gate/types.ts';
import type { Arm } from '../../domain/words.ts';
import { readFigures } from '../../store/gate-data.ts';
import { readInfluences } from '../../store/gate-influences.ts';
import { figuresFromSamples } from '../../store/gate-samples.ts';
import { inSnapshot } from '../../store/gate-snapshot.ts';
import type { GateWindow } from '../../store/gate-totals.ts';
import { attachScores, experimentOf, recordBatch, type SampleRecord, watermark } from '../../store/ledger.ts';
import { databaseOfFile } from '../support/database.ts';
import { idOf, sampleOf } from '../support/ledger.ts';

/** Of two evaluators, each a metric of its own. */
const metrics = [
  ...defaultGatePolicy.metrics,
  ...defaultGatePolicy.metrics
    .filter(({ metric }) => metric === 'quality:judge')
    .map((metric) => ({ ...metric, metric: 'quality:helpful' })),
];
const FROM = Date.UTC(2026, 0, 5);
const STRATUM = 1000;

const db = await databaseOfFile();

interface Request {
  user: number;
  /** ms after the start; negative: the gateway's clock was behind. */
  at: number;
  failed: boolean;
  violations: number;
  latency: number;
  ttft: number | null;
  cost: number | null;
  score: number | null;
  /** Of the other evaluator. */
  helpful?: number | null | undefined;
  /** Without a user: out of the gate. */
  anonymous?: boolean | undefined;
}

const seconds = fc.oneof(
  { weight: 10, arbitrary: fc.double({ min: 0.01, max: 30, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(0, Number.NaN, Number.POSITIVE_INFINITY, -1, 1e-9, 1e9) },
);

const requests: fc.Arbitrary<Request[]> = fc.array(
  fc.record({
    user: fc.nat(11),
    at: fc.integer({ min: -500, max: 5999 }),
    failed: fc.boolean(),
    violations: fc.nat(1),
    latency: seconds,
    ttft: fc.option(seconds),
    cost: fc.option(fc.double({ min: 0, max: 0.1, noNaN: true })),
    score: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    helpful: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    anonymous: fc.nat(9).map((of) => of === 0),
  }),
  // fast-check's default size would make ten at most: then nothing comes in parts, and hardly two of a user.
  { minLength: 1, maxLength: 150, size: 'max' },
);

let releases = 0;

/** A ramp: at 3 s the weight rises, and users 4–7 move to the canary; at 5 s everybody is there. User 11 strays between the arms. */
const phases = [{ weight: 0.3 }, { weight: 0.6 }, { weight: 1 }];
function armOf({ user, at }: Request, phase: number): 'stable' | 'canary' {
  if (user === 11) return at % 2 === 0 ? 'stable' : 'canary';
  return user < 4 || (user < 8 && phase >= 1) || phase >= 2 ? 'canary' : 'stable';
}

function recordsOf(
  release: string,
  list: readonly Request[],
): { record: SampleRecord; scores: { evaluator: string; score: number | null }[] }[] {
  return list.map((request, index) => {
    const phase = request.at >= 5000 ? 2 : request.at >= 3000 ? 1 : 0;
    const at = FROM + request.at;
    const record = sampleOf({
      id: idOf(`${release} ${index}`),
      at,
      release,
      user: request.anonymous ? null : `user-${request.user}`,
      arm: request.anonymous ? null : armOf(request, phase),
      stratum: stratumId({ at, from: FROM, length: STRATUM, phase }),
      failed: request.failed,
      violations: request.violations,
      latency: request.latency,
      ttft: request.ttft,
      tpot: request.ttft === null ? null : request.ttft / 10,
      cost: request.cost,
    });
    const scores = [
      { evaluator: 'judge', score: request.score },
      { evaluator: 'helpful', score: request.helpful ?? null },
    ];
    return { record, scores };
  });
}

async function write(rows: ReturnType<typeof recordsOf>, batches: number): Promise<void> {
  const scores = rows.flatMap(({ record, scores }) =>
    scores.flatMap(({ evaluator, score }) =>
      score === null ? [] : [{ request: record.id, evaluator, score }],
    ),
  );
  // Half of the scores come before their samples.
  await attachScores(
    db,
    scores.filter((_, index) => index % 2 === 0),
  );
  const size = Math.ceil(rows.length / batches);
  for (let from = 0; from < rows.length; from += size) {
    await recordBatch(
      db,
      rows.slice(from, from + size).map(({ record }) => record),
    );
  }
  await attachScores(db, scores);
  // Of another tenant's requests nobody can say anything.
  await attachScores(
    db,
    scores.slice(0, 5).map((score) => ({ ...score, tenant: 'rival', score: 0 })),
  );
}

function windowOf(release: string, to = 6000): GateWindow {
  return { release, from: FROM, to: FROM + to, stratum: STRATUM, phases };
}

/** The first stratum of an arm, counted as it is. */
const row = (arm: Arm): InfluenceRow => ({
  arm,
  stratum: 0,
  mean: 0,
  pooledMean: 0,
  own: 1,
  asStable: 1,
  asCanary: 1,
});

const ofRelease = (made: ReturnType<typeof recordsOf>[number], release: string) => ({
  ...made,
  record: { ...made.record, release },
});

const json = (figures: GateFigures): unknown => figuresAsJson(figures);

describe('the figures of the gate', () => {
  it('are the same from the per-user rows, by SQL, and from the raw samples, in memory', async () => {
    await fc.assert(
      fc.asyncProperty(
        requests,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 7000 }),
        async (list, batches, to) => {
          const release = `oracle-${++releases}`;
          await write(recordsOf(release, list), batches);
          const window = windowOf(release, to);
          const sql = await readFigures(db, window, metrics);
          const memory = await figuresFromSamples(db, window, metrics, sql.watermark);
          assert.deepEqual(json(sql.figures), json(memory));
          const inParts = await figuresFromSamples(db, window, metrics, sql.watermark, 20);
          assert.deepEqual(json(inParts), json(memory));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('do not depend on order, batches and replays', async () => {
    await fc.assert(
      fc.asyncProperty(requests, async (list) => {
        const [one, other] = [`order-${++releases}`, `order-${++releases}`];
        const rows = recordsOf(one, list);
        await write(rows, 1);
        const again = rows.map(({ record, scores }) => ({
          record: { ...record, release: other, id: idOf(`again ${record.id}`) },
          scores,
        }));
        await write(again.toReversed(), 3);
        await write(again, 2);
        const [a, b] = [
          await readFigures(db, windowOf(one), metrics),
          await readFigures(db, windowOf(other), metrics),
        ];
        assert.deepEqual(json(a.figures), json(b.figures));
      }),
      { numRuns: 20 },
    );
  });

  it('stay what they were at a watermark when late samples arrive', async () => {
    const release = `late-${++releases}`;
    const list: Request[] = Array.from({ length: 60 }, (_, index) => ({
      user: index % 12,
      at: (index * 37) % 3000,
      failed: index % 9 === 0,
      violations: 0,
      latency: 1 + (index % 5),
      ttft: 0.2,
      cost: 0.001,
      score: (index % 4) / 4,
    }));
    const rows = recordsOf(release, list);
    await write(rows.slice(0, 40), 2);
    const frozen = await readFigures(db, windowOf(release), metrics);
    await write(rows.slice(40), 1);
    assert.ok((await watermark(db)) > frozen.watermark);
    const recomputed = await figuresFromSamples(db, windowOf(release), metrics, frozen.watermark);
    assert.deepEqual(json(recomputed), json(frozen.figures));
    const later = await readFigures(db, windowOf(release), metrics);
    assert.notDeepEqual(json(later.figures), json(frozen.figures));
  });

  it('are the same in one part, and in many by threads', async () => {
    const release = `parts-${++releases}`;
    const list = Array.from(
      { length: 300 },
      (_, index): Request => ({
        user: index % 12,
        at: (index * 37) % 6000,
        failed: index % 9 === 0,
        violations: 0,
        latency: 1 + (index % 5),
        ttft: 0.2 + (index % 7),
        cost: 0.001 * (1 + (index % 3)),
        score: (index % 4) / 4,
        helpful: (index % 3) / 4,
      }),
    );
    await write(recordsOf(release, list), 3);
    const { figures } = await readFigures(db, windowOf(release), metrics);
    assert.equal(figures.sums.length, metrics.length);
    const inParts = await inSnapshot(db, async (snapshot) => {
      const experiment = (await experimentOf(snapshot.tx, release)) ?? -1;
      return readInfluences(snapshot, experiment, influenceRequests(metrics, figures.totals), 40_000_000);
    });
    assert.deepEqual(inParts, figures.sums);
  });

  it('in threads are those of the snapshot, whatever is recorded meanwhile', async () => {
    const release = `meanwhile-${++releases}`;
    const one = (at: number): Request[] => [
      { user: 1, at, failed: true, violations: 0, latency: 1, ttft: null, cost: null, score: null },
    ];
    await write(recordsOf(release, one(0)), 1);
    const experiment = (await experimentOf(db, release)) ?? -1;
    const errors = { guard: 'error', metric: 'error', centre: 0n, above: null, rows: [row('canary')] };
    const [sum] = await inSnapshot(db, async (snapshot) => {
      await watermark(snapshot.tx);
      await write(
        recordsOf(`${release} late`, one(1)).map((late) => ofRelease(late, release)),
        1,
      );
      const read = (rows: number) => readInfluences(snapshot, experiment, [errors], rows);
      const [here] = await read(1);
      assert.equal(here?.arms.canary.n2, 1n);
      return read(100_000);
    });
    assert.equal(sum?.arms.canary.n2, 1n);
  });

  it('hold every page of a large table', async () => {
    const release = `large-${++releases}`;
    await write(
      recordsOf(release, [
        { user: 1, at: 0, failed: true, violations: 0, latency: 1, ttft: null, cost: null, score: null },
      ]),
      1,
    );
    const experiment = (await experimentOf(db, release)) ?? -1;
    const users = 30_000;
    // As many rows like the first one as fill some pages more than one statement reads.
    await db.query(
      `insert into user_strata select (r).* from (
         select jsonb_populate_record(s, jsonb_build_object('user_id', n + 1000000, 'requests', 1 + n % 3, 'errors', n % 2)) as r
           from user_strata s, generate_series(1, $2) n where s.experiment = $1) made`,
      [experiment, users],
    );
    const errors = { guard: 'error', metric: 'error', centre: 0n, above: null, rows: [row('canary')] };
    const [sum] = await inSnapshot(db, (snapshot) =>
      readInfluences(snapshot, experiment, [errors], users + 1),
    );
    const { arms } = sum ?? assert.fail('no sum');
    // The first row, and thrice as many thousand times 1² + 2² + 3² requests; every other one erred.
    assert.deepEqual(
      [arms.canary.users, arms.canary.positive, arms.canary.n2],
      [users + 1, users / 2 + 1, BigInt((users / 3) * 14 + 1)],
    );
    assert.equal(arms.stable.users, 0);
  });

  it('say what a thread met', async () => {
    const request = { guard: 'error', metric: 'error', centre: 0n, above: null, rows: [row('stable')] };
    await assert.rejects(
      inSnapshot(db, async (snapshot) => readInfluences(snapshot, 4711, [request], 40_000_000)),
      /relation "user_strata_4711" does not exist/,
    );
  });

  it('of a release without samples are empty', async () => {
    const { figures } = await readFigures(db, windowOf('nobody'), metrics);
    assert.deepEqual(figures.totals.traffic, []);
    assert.deepEqual(figures.sums, []);
  });
});
