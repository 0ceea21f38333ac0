import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { SlipwayError } from '../../domain/errors.ts';
import { ledgerValue } from '../../domain/gate/metrics.ts';
import { newRequestId } from '../../gateway/request-id.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import {
  attachScores,
  countArms,
  openDaysAhead,
  recordBatch,
  type SampleRecord,
  watermark,
} from '../../store/ledger.ts';
import { sampleOf } from '../support/ledger.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

let postgres: TestPostgres;
let db: Database;

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
});

after(async () => {
  await db.end();
  await postgres.stop();
});

let releases = 0;
/** A release that no other test has written to. */
const freshRelease = (): string => `release-${++releases}`;

const sample = (given: Partial<SampleRecord>): SampleRecord =>
  sampleOf({ id: randomUUID(), at: Date.UTC(2026, 0, 5, 12), ...given });

/** Every statistic of a release, in a fixed order and without the numbers that stand for users and experiments. */
async function statisticsOf(release: string): Promise<Record<string, unknown[]>> {
  const query = async (sql: string) => (await db.query(sql, [release])).rows as unknown[];
  const experiment = '(select id from experiments where release = $1)';
  return {
    userTotals: await query(
      `select metric, arm, stratum, key, n, sum::text from user_totals join ledger_users on id = user_id
        where experiment = ${experiment} order by 1, 2, 3, 4`,
    ),
    users: await query(
      `select key, stable_requests, canary_requests, first_stratum, first_error_stratum, first_error_arm
         from experiment_users join ledger_users on id = user_id where experiment = ${experiment} order by 1`,
    ),
    buckets: await query(
      `select metric, arm, stratum, bucket, key, n from user_buckets join ledger_users on id = user_id
        where experiment = ${experiment} order by 1, 2, 3, 4, 5`,
    ),
    totals: await query(
      `select metric, arm, stratum, users, n, sum::text, squares::text from stratum_totals
        where experiment = ${experiment} order by 1, 2, 3`,
    ),
    totalBuckets: await query(
      `select metric, arm, stratum, bucket, n from stratum_buckets where experiment = ${experiment} order by 1, 2, 3, 4`,
    ),
  };
}

const fixed = (metric: string, value: number): bigint => {
  const stored = ledgerValue(metric, value);
  assert.ok('value' in stored);
  return BigInt(stored.value);
};

describe('recordBatch', () => {
  it('adds up what a user did in an arm and stratum', async () => {
    const release = freshRelease();
    await recordBatch(db, [
      sample({ release, arm: 'canary', user: 'a', latency: 1.5, ttft: 0.2, tpot: 0.01, cost: 0.002 }),
      sample({
        release,
        arm: 'canary',
        user: 'a',
        latency: 2.5,
        failed: true,
        status: 502,
        reason: 'upstream_5xx',
      }),
      sample({ release, arm: 'stable', user: 'b', latency: 3, stratum: 64 }),
    ]);
    const { userTotals, users, totals } = await statisticsOf(release);
    const row = (metric: string, arm: string) =>
      (userTotals as { metric: string; arm: string }[]).find((r) => r.metric === metric && r.arm === arm);
    assert.deepEqual(row('error', 'canary'), {
      metric: 'error',
      arm: 'canary',
      stratum: 0,
      key: 'a',
      n: 2,
      sum: '1000000',
    });
    assert.deepEqual(row('latency', 'canary'), {
      metric: 'latency',
      arm: 'canary',
      stratum: 0,
      key: 'a',
      n: 1,
      sum: fixed('latency', 1.5).toString(),
    });
    assert.equal(row('ttft', 'stable'), undefined);
    assert.deepEqual(users, [
      {
        key: 'a',
        stable_requests: 0,
        canary_requests: 2,
        first_stratum: 0,
        first_error_stratum: 0,
        first_error_arm: 'canary',
      },
      {
        key: 'b',
        stable_requests: 1,
        canary_requests: 0,
        first_stratum: 64,
        first_error_stratum: null,
        first_error_arm: null,
      },
    ]);
    const cost = (totals as { metric: string; squares: string }[]).find((r) => r.metric === 'cost');
    assert.equal(cost?.squares, (fixed('cost', 0.002) ** 2n).toString());
    assert.deepEqual(await countArms(db, release), {
      stable: { samples: 1, users: 1 },
      canary: { samples: 2, users: 1 },
    });
  });

  it('gives the same statistics in any order, in any batches and after any replay', async () => {
    const [once, shuffled] = [freshRelease(), freshRelease()];
    const records = Array.from({ length: 60 }, (_, i) => ({
      arm: i % 3 === 0 ? ('canary' as const) : ('stable' as const),
      user: `user-${i % 7}`,
      stratum: 64 * (i % 4),
      latency: 0.5 + (i % 11),
      ttft: i % 2 === 0 ? 0.1 * i : null,
      failed: i % 9 === 0,
      cost: 0.001 * i,
    }));
    await recordBatch(
      db,
      records.map((record) => sample({ ...record, release: once })),
    );

    const late = records.map((record) => sample({ ...record, release: shuffled })).reverse();
    await recordBatch(db, late.slice(0, 25));
    await recordBatch(db, late.slice(10, 40));
    await Promise.all([
      recordBatch(db, late),
      recordBatch(db, late.slice(30)),
      recordBatch(db, [...late, ...late]),
    ]);
    assert.deepEqual(await statisticsOf(shuffled), await statisticsOf(once));
  });

  it('numbers batches in the order in which they commit', async () => {
    const before = await watermark(db);
    const batches = await Promise.all(
      Array.from({ length: 8 }, () => recordBatch(db, [sample({ release: freshRelease() })])),
    );
    assert.equal(await watermark(db), before + 8);
    assert.deepEqual(
      batches.map(({ batch }) => batch).sort((a, b) => a - b),
      Array.from({ length: 8 }, (_, i) => before + 1 + i),
    );
  });

  it('keeps requests without a user out of every statistic', async () => {
    const release = freshRelease();
    await recordBatch(db, [sample({ release, arm: null, user: null })]);
    assert.deepEqual(await countArms(db, release), {
      stable: { samples: 0, users: 0 },
      canary: { samples: 0, users: 0 },
    });
    const statistics = await statisticsOf(release);
    assert.ok(Object.values(statistics).every((rows) => rows.length === 0));
  });

  it('counts values that it cannot use', async () => {
    const release = freshRelease();
    await recordBatch(db, [sample({ release, latency: -1 })]);
    const { rows } = await db.query(
      `select metric, arm, reason, n from unusable_samples join experiments e on e.id = experiment where release = $1`,
      [release],
    );
    assert.deepEqual(rows, [{ metric: 'latency', arm: 'stable', reason: 'out-of-range', n: 1 }]);
  });

  it('has no latency of an answer that failed or ended early', async () => {
    const release = freshRelease();
    await recordBatch(db, [
      sample({ release, user: 'a', interrupted: true, latency: 0.01, ttft: 0.2, violations: 1 }),
      sample({ release, user: 'b', failed: true, latency: 0.01 }),
      sample({ release, user: 'c', latency: 2 }),
    ]);
    const { totals } = await statisticsOf(release);
    const sums = (totals as { metric: string; n: number; sum: string }[]).map(({ metric, n, sum }) => [
      metric,
      n,
      sum,
    ]);
    assert.deepEqual(sums, [
      ['error', 3, '1000000'],
      ['latency', 1, fixed('latency', 2).toString()],
      ['ttft', 1, fixed('ttft', 0.2).toString()],
      ['violation', 3, '1000000'],
    ]);
  });

  it('keeps the releases and applications of one batch apart', async () => {
    const [one, other] = [freshRelease(), freshRelease()];
    const quiet = ['quiet-a', 'quiet-b'];
    await recordBatch(db, [
      sample({ release: one }),
      ...[1, 2].map((n) => sample({ release: other, arm: 'canary', user: `user-${n}` })),
      ...[0, 1, 1].map((of) => sample({ application: quiet[of] ?? '' })),
    ]);
    assert.deepEqual(
      [await countArms(db, one), await countArms(db, other)].map(({ stable, canary }) => [
        stable.samples,
        canary.samples,
      ]),
      [
        [1, 0],
        [0, 2],
      ],
    );
    const { rows } = await db.query(
      `select application, release, count(*) from samples join experiments e on e.id = experiment
        where application = any($1) group by 1, 2 order by 1`,
      [quiet],
    );
    assert.deepEqual(rows, [
      { application: 'quiet-a', release: '', count: 1 },
      { application: 'quiet-b', release: '', count: 2 },
    ]);
  });

  it('takes the first error of a user on both arms for one on stable, in any order and batches', async () => {
    const failing = (release: string, arm: 'stable' | 'canary', stratum: number) =>
      sample({ release, arm, stratum, failed: true, user: 'stray' });
    const places = [
      ['canary', 0],
      ['stable', 0],
      ['canary', 64],
    ] as const;
    const orders = [
      [0, 1, 2],
      [1, 0, 2],
      [2, 1, 0],
      [2, 0, 1],
    ];
    for (const order of orders) {
      for (const together of [true, false]) {
        const release = freshRelease();
        const records = order.flatMap((index) => {
          const [arm, stratum] = places[index] ?? assert.fail();
          return failing(release, arm, stratum);
        });
        for (const batch of together ? [records] : records.map((one) => [one])) await recordBatch(db, batch);
        const { users } = await statisticsOf(release);
        const [user] = users as { first_error_stratum: number; first_error_arm: string }[];
        assert.deepEqual([user?.first_error_stratum, user?.first_error_arm], [0, 'stable']);
      }
    }
  });

  it('knows a request however its id is written', async () => {
    const release = freshRelease();
    const record = sample({ release });
    await recordBatch(db, [{ ...record, id: record.id.toUpperCase() }]);
    assert.equal((await recordBatch(db, [record])).inserted, 0);
    assert.equal((await countArms(db, release)).stable.samples, 1);
  });

  it('opens the days that it needs, also when several movers race for the same one', async () => {
    const release = freshRelease();
    const at = Date.UTC(2031, 4, 1, 23, 59, 59, 999);
    await Promise.all([
      openDaysAhead(db, at),
      ...[at, at + 1, at].map((time) => recordBatch(db, [sample({ release, at: time })])),
    ]);
    const { rows } = await db.query(
      `select tableoid::regclass::text as partition, count(*) from samples where at > '2031-01-01' group by 1 order by 1`,
    );
    assert.deepEqual(rows, [
      { partition: 'samples_20310501', count: 2 },
      { partition: 'samples_20310502', count: 1 },
    ]);
  });
});

describe('scores', () => {
  it('count once per request and evaluator, before or after their sample', async () => {
    const release = freshRelease();
    const [early, late] = [
      sample({ release, arm: 'canary', user: 'a' }),
      sample({ release, arm: 'canary', user: 'a' }),
    ];
    assert.deepEqual(await attachScores(db, [{ request: early.id, evaluator: 'judge', score: 0.25 }]), []);
    await recordBatch(db, [early, late]);
    const attached = await attachScores(db, [
      { request: late.id, evaluator: 'judge', score: 0.5 },
      { request: early.id, evaluator: 'judge', score: 1 },
    ]);
    assert.deepEqual(
      attached.map(({ request, arm, application }) => ({ request, arm, application })),
      [{ request: late.id, arm: 'canary', application: 'support' }],
    );
    await recordBatch(db, [early, late]);
    const { userTotals } = await statisticsOf(release);
    assert.deepEqual(
      (userTotals as { metric: string }[]).filter((row) => row.metric === 'quality:judge'),
      [{ metric: 'quality:judge', arm: 'canary', stratum: 0, key: 'a', n: 2, sum: '750000' }],
    );
    const { rows } = await db.query(
      'select count(*) from scores where batch is null and request_id = any($1)',
      [[early.id, late.id]],
    );
    assert.deepEqual(rows, [{ count: 0 }]);
  });

  it('of several evaluators count each, also when all of them waited for their sample', async () => {
    const record = sample({ release: freshRelease(), user: 'a' });
    const scores = ['judge', 'helpful'].map((evaluator, n) => ({ request: record.id, evaluator, score: n }));
    await attachScores(db, scores);
    await recordBatch(db, [record]);
    const { userTotals } = await statisticsOf(record.release ?? '');
    assert.deepEqual(
      (userTotals as { metric: string; sum: string }[])
        .filter(({ metric }) => metric.startsWith('quality:'))
        .map(({ metric, sum }) => [metric, sum]),
      [
        ['quality:helpful', '1000000'],
        ['quality:judge', '0'],
      ],
    );
  });

  it('of one tenant never reach the sample of another', async () => {
    const release = freshRelease();
    const record = sample({ release, tenant: 'shop' });
    await recordBatch(db, [record]);
    const score = { request: record.id, evaluator: 'feedback', score: 0 };
    assert.equal((await attachScores(db, [{ ...score, tenant: 'rival' }])).length, 0);
    assert.equal((await attachScores(db, [{ ...score, tenant: 'shop' }])).length, 1);
  });

  it('of the evaluator and of a tenant under one name count once', async () => {
    const release = freshRelease();
    const record = sample({ release, tenant: 'shop', user: 'a' });
    const score = { request: record.id, evaluator: 'judge', score: 0.5 };
    await attachScores(db, [score, { ...score, tenant: 'shop', score: 1 }]);
    await recordBatch(db, [record]);
    assert.deepEqual(await attachScores(db, [{ ...score, tenant: 'shop', score: 0 }]), []);
    const other = sample({ release, tenant: 'shop', user: 'a' });
    await recordBatch(db, [other]);
    const late = { request: other.id, evaluator: 'judge', score: 1, tenant: 'shop' };
    assert.equal((await attachScores(db, [late])).length, 1);
    assert.deepEqual(await attachScores(db, [{ request: other.id, evaluator: 'judge', score: 0 }]), []);
    const { userTotals } = await statisticsOf(release);
    assert.deepEqual(
      (userTotals as { metric: string }[]).filter(({ metric }) => metric === 'quality:judge'),
      [{ metric: 'quality:judge', arm: 'stable', stratum: 0, key: 'a', n: 2, sum: '1500000' }],
    );
  });

  it('are looked for on the days around the time in the request id, and other days are not opened', async () => {
    const at = Date.UTC(2032, 4, 1, 23);
    const day = 86_400_000;
    // Told by clocks some hours behind and before the one that made the sample's time, on other days.
    const records = [at - 24 * 3_600_000, at, at + 2 * 3_600_000].map((made) =>
      sample({ id: newRequestId(made), at }),
    );
    await recordBatch(db, [...records, sample({ at: at - 400 * day }), sample({ at: at + 400 * day })]);
    const scores = records.map(({ id }) => ({ request: id, evaluator: 'judge', score: 1 }));
    const holder = await db.connect();
    const impatient = openDatabase(postgres.url, { queryTimeout: 10_000 });
    try {
      await holder.query('begin');
      await holder.query('lock table samples_20310328, samples_20330605 in access exclusive mode');
      assert.equal((await attachScores(impatient, scores)).length, 3);
    } finally {
      await holder.query('rollback');
      holder.release();
      await impatient.end();
    }
  });

  it('may name requests of any time, of which there are none', async () => {
    const ids = [0, 2 ** 48 - 1].map((made) => newRequestId(made));
    const scores = ids.map((request) => ({ request, evaluator: 'judge', score: 1 }));
    assert.deepEqual(await attachScores(db, scores), []);
  });

  it('outside 0–1 are refused', async () => {
    for (const score of [-0.01, 1.01, Number.NaN]) {
      await assert.rejects(
        attachScores(db, [{ request: randomUUID(), evaluator: 'judge', score }]),
        (error: unknown) =>
          error instanceof SlipwayError &&
          error.code === 'INPUT_INVALID' &&
          error.details.remedy !== undefined,
      );
    }
  });
});

describe('scoring queue', () => {
  it('gets an answer once and knows no arm', async () => {
    const record = sample({
      release: freshRelease(),
      arm: 'canary',
      scoring: { input: 'in', output: 'out' },
    });
    await recordBatch(db, [record]);
    await db.query('delete from scoring_queue where request_id = $1', [record.id]);
    await recordBatch(db, [record]);
    const { rows } = await db.query('select * from scoring_queue where request_id = $1', [record.id]);
    assert.deepEqual(rows, [], 'a replay must not ask for a second score');

    const other = sample({ release: freshRelease(), arm: 'canary', scoring: { input: 'in', output: 'out' } });
    await recordBatch(db, [other]);
    const queued = await db.query('select * from scoring_queue where request_id = $1', [other.id]);
    assert.deepEqual(Object.keys(queued.rows[0] ?? {}).sort(), [
      'application',
      'attempts',
      'claimed_until',
      'enqueued_at',
      'input',
      'output',
      'request_id',
    ]);
  });
});
