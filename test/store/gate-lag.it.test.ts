import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { ledgerLag } from '../../store/gate-lag.ts';
import { recordBatch, type SampleRecord } from '../../store/ledger.ts';
import { databaseOfFile } from '../support/database.ts';
import { idOf, sampleOf } from '../support/ledger.ts';

const FROM = Date.UTC(2026, 0, 5);
const STRATUM = 1000;
/** The horizon: three strata after the start. */
const TO = FROM + 3 * STRATUM;
const policy = { gate: { ...defaultPolicy.gate, stratum: STRATUM } };
const noScores = policy.gate.metrics.filter(({ metric }) => !metric.startsWith('quality:'));

const db = await databaseOfFile();

let releases = 0;
/** A release of which each of these samples waits for its score. */
async function waiting(...samples: Partial<SampleRecord>[]): Promise<string> {
  const release = `lag-${++releases}`;
  const records = samples.map((sample, index) =>
    sampleOf({
      id: idOf(`${release} ${index}`),
      at: FROM,
      release,
      scoring: { input: 'question', output: 'answer' },
      ...sample,
    }),
  );
  await recordBatch(db, records);
  return release;
}

const lag = (release: string, now: number, metrics = policy.gate.metrics) =>
  ledgerLag(db, { release, policy: { gate: { ...policy.gate, metrics } }, from: FROM, to: TO, now });
const late = TO + 60_000;

describe('the lag of the ledger', () => {
  it('is over with a sample from the horizon on, and in any case after a minute', async () => {
    const before = await waiting({ at: TO - 1, scoring: null });
    await waiting({ at: TO + 1, scoring: null });
    const noSample = 'the ledger has no sample from after the horizon yet';
    assert.equal(await lag(before, TO), noSample);
    assert.equal(await lag('nobody', TO), noSample);
    assert.equal(await lag(before, late - 1), noSample);
    assert.equal(await lag(before, late), null);
    assert.equal(await lag(await waiting({ at: TO, stratum: 3 * 64, scoring: null }), TO), null);
  });

  it('lasts while answers that the verdict sees wait for their scores, and for no others', async () => {
    const seen = await waiting({ stratum: 0 }, { stratum: 2 * 64 + 1 });
    assert.equal(await lag(seen, late), '2 answers from before the horizon wait for their score');
    assert.equal(await lag(seen, late, noScores), null);
    const others = await waiting({ stratum: 3 * 64 }, { arm: null, user: null });
    assert.equal(await lag(others, late), null);
  });
});
