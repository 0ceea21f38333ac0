import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digestOf } from '../../domain/digest.ts';
import { evidenceDigest } from '../../domain/gate/evidence.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { defaultGatePolicy, type Verdict } from '../../domain/gate/types.ts';
import { judge } from '../../domain/gate/verdict.ts';
import {
  findPlan,
  findVerdict,
  lastLook,
  listLooks,
  listVerdicts,
  saveLook,
  savePlan,
  saveVerdict,
} from '../../store/evidence.ts';
import { databaseOfFile } from '../support/database.ts';

const db = await databaseOfFile();

const plan = planGate(defaultGatePolicy, null);
const nothing = { traffic: [], metrics: [], buckets: [], unusable: [] };
/** Of no sample at all; each horizon's is another. */
const verdictAt = (horizon: number): Verdict =>
  judge(plan, { totals: { from: 0, to: 1, stratum: 1, phases: [], ...nothing }, sums: [] }, horizon);

describe('the evidence', () => {
  it('of a plan stays what it was first', async () => {
    assert.equal(await findPlan(db, 'r'), null);
    const first = await savePlan(db, 'r', plan);
    assert.deepEqual(first, { digest: digestOf(plan), plan });
    assert.deepEqual(await savePlan(db, 'r', planGate({ ...defaultGatePolicy, minUsers: 9 }, null)), first);
  });

  it('of a look stays what it was first, and the newest look is of its release and kind', async () => {
    const look = (second: number, kind: 'guards' | 'gate', what: string) => ({
      kind,
      at: new Date(second * 1000),
      look: { what },
    });
    const kept = [look(1, 'gate', 'a'), look(1, 'guards', 'b'), look(2, 'gate', 'c')];
    // Written in another order than they are read in.
    for (const one of [look(2, 'gate', 'c'), look(1, 'guards', 'b'), look(1, 'gate', 'a')])
      await saveLook(db, 'r', one);
    await saveLook(db, 'r', look(2, 'gate', 'again'));
    await saveLook(db, 'other', look(9, 'gate', 'of another release'));
    assert.deepEqual((await listLooks(db, 'r')).looks, kept);
    assert.deepEqual(await lastLook(db, 'r', 'gate'), kept[2]);
    assert.deepEqual(await lastLook(db, 'r', 'guards'), kept[1]);
    assert.equal(await lastLook(db, 'nobody', 'gate'), null);

    const pages = [];
    for (let after: string | undefined, page = await listLooks(db, 'r', { limit: 1 }); ; ) {
      pages.push(...page.looks);
      if (page.next === null) break;
      after = page.next;
      page = await listLooks(db, 'r', { limit: 1, after });
    }
    assert.deepEqual(pages, kept);
    assert.deepEqual((await listLooks(db, 'r', { kind: 'gate' })).looks, [kept[0], kept[2]]);
  });

  it('of a verdict stays what it was first, horizon by horizon', async () => {
    const given = (horizon: number, verdict = verdictAt(horizon)) => ({
      release: 'r',
      horizon,
      watermark: 40 + horizon,
      judgedAt: new Date(horizon),
      verdict,
    });
    const second = await saveVerdict(db, given(1));
    const first = await saveVerdict(db, given(0));
    assert.deepEqual(first, { ...given(0), digest: evidenceDigest(verdictAt(0)) });
    assert.notEqual(first.digest, second.digest);
    assert.deepEqual(await saveVerdict(db, { ...given(0, verdictAt(2)), watermark: 99 }), first);
    await saveVerdict(db, { ...given(0, verdictAt(3)), release: 'other' });
    assert.deepEqual(await listVerdicts(db, 'r'), [first, second]);
    assert.deepEqual(await findVerdict(db, 'r', 1), second);
    assert.equal(await findVerdict(db, 'r', 2), null);
  });
});
