import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { baselineOf, baselineRequests } from '../../domain/gate/baseline.ts';
import { SampleCollector } from '../../domain/gate/collect.ts';
import { influenceSums, totalsOf } from '../../domain/gate/in-memory.ts';
import { defaultGatePolicy } from '../../domain/gate/types.ts';
import { readBaseline } from '../../store/gate-baseline.ts';
import { metricsOf } from '../../store/ledger/records.ts';
import { attachScores } from '../../store/ledger.ts';
import { canaryTraffic, record } from '../support/canary.ts';
import { databaseOfFile } from '../support/database.ts';
import { releasesOn } from '../support/releases.ts';

const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 5);

const db = await databaseOfFile();

let applications = 0;
/** An application with a week of traffic, or so, outside any release. */
async function application(lasting: number) {
  const name = `quiet-${++applications}`;
  const rows = canaryTraffic({
    application: name,
    release: name,
    from: START,
    lasting,
    stratum: DAY,
    users: { stable: 120, canary: 0 },
    samplesPerUser: 5,
    errors: { stable: 0.1 },
  }).map(({ record: { at, ...rest }, score }) => ({
    record: { ...rest, at, release: null, stratum: Math.floor(at / DAY) * 64 },
    score,
  }));
  // Users come back: each fifth sample belongs to a neighbour who came long before.
  for (const [index, row] of rows.entries()) {
    if (index % 5 === 4) row.record.user = rows[Math.floor(index / 7)]?.record.user ?? row.record.user;
  }
  await record(db, rows);
  return { name, rows };
}

describe('the baseline', () => {
  it('of days is that of the same samples in memory', async () => {
    const { name, rows } = await application(5 * DAY);
    const gate = { ...defaultGatePolicy, horizons: [3 * DAY, 6 * DAY] };
    // The span ends with the last whole day, and begins in the middle of the traffic.
    const [from, to] = [START + DAY, START + 4 * DAY];
    const phases = [{ since: from, weight: gate.weight }];
    const collector = new SampleCollector({ from, stratum: DAY, phases, metrics: gate.metrics });
    for (const { record: sample, score } of rows) {
      if (sample.at < from || sample.at >= to || sample.user === null) continue;
      const values = { ...Object.fromEntries(metricsOf(sample)), 'quality:judge': score };
      collector.add({ at: sample.at, user: sample.user, arm: 'stable', values });
    }
    const data = collector.finish(to);
    const totals = totalsOf(data);
    const sums = baselineRequests(gate.metrics, totals).map((request) => influenceSums(request, data));
    const expected = baselineOf(gate, { totals, sums });
    assert.ok((expected?.users[0] ?? 0) > 50);
    assert.deepEqual(await readBaseline(db, { application: name, gate, now: to + DAY / 2 }), expected);
  });

  it('of a compressed policy counts the users of its first horizon', async () => {
    const { name, rows } = await application(120_000);
    const gate = { ...defaultGatePolicy, horizons: [60_000, 90_000], stratum: 60_000 };
    const baseline = await readBaseline(db, { application: name, gate, now: START + 120_000 });
    // What another tenant says of these answers is nothing.
    const judged = rows.map(({ record: { id } }) => ({ request: id, evaluator: 'judge', score: 0 }));
    await attachScores(
      db,
      judged.map((score) => ({ ...score, tenant: 'rival' })),
    );
    assert.deepEqual(await readBaseline(db, { application: name, gate, now: START + 120_000 }), baseline);
    const users = new Set(
      rows.filter((row) => row.record.at >= START + 60_000).map((row) => row.record.user),
    );
    assert.equal(baseline?.users[0], users.size);
    for (const { metric } of gate.metrics) {
      if (metric === 'violation') continue;
      assert.ok((baseline?.sigma[metric] ?? baseline?.sigma[`${metric}/log-mean`] ?? 0) > 0, metric);
    }
  });

  it('is of a time in which no canary of the application ran', async () => {
    const gate = { ...defaultGatePolicy, horizons: [2 * DAY] };
    const at = (days: number) => START + days * DAY;
    const { name } = await application(5 * DAY);
    const baselineAt = (days: number) => readBaseline(db, { application: name, gate, now: at(days) });
    const [early, late] = [await baselineAt(2.5), await baselineAt(5)];
    assert.ok(early !== null && late !== null);
    assert.notDeepEqual(early, late);

    const releases = releasesOn(db);
    const ran = async (of: string, since: number, ended: number | null) => {
      await db.query('update releases set canary_since = $2, ended_at = $3 where application = $1', [
        of,
        new Date(at(since)),
        ended === null ? null : new Date(at(ended)),
      ]);
    };
    await releases.register({ application: `${name}-other` });
    await ran(`${name}-other`, 2.5, null);
    await releases.register({ application: name });
    assert.deepEqual(await baselineAt(5), late);
    for (const [ended, expected] of [
      [null, early],
      [3.1, early],
      [2.9, late],
    ] as const) {
      await ran(name, 2.5, ended);
      assert.deepEqual(await baselineAt(5), expected, `ended after ${ended} days`);
    }
  });

  it('is none without a span as long as the first horizon', async () => {
    const { name } = await application(120_000);
    const gate = { ...defaultGatePolicy, horizons: [60_000], stratum: 60_000 };
    assert.equal(await readBaseline(db, { application: name, gate, now: START + 50_000 }), null);
    assert.equal(
      await readBaseline(db, { application: name, gate: defaultGatePolicy, now: START + DAY }),
      null,
    );
    assert.equal(await readBaseline(db, { application: 'unheard of', gate, now: START + DAY }), null);
  });
});
