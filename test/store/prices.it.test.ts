import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { readRouteTable } from '../../store/routes.ts';
import { databaseOfFile } from '../support/database.ts';
import { type ReleaseOptions, releasesOn } from '../support/releases.ts';
import { exampleModel, exampleRuntime } from '../support/servings.ts';

const db = await databaseOfFile();

const priced = (dollars: number): Pick<ReleaseOptions, 'spec'> => ({
  spec: { model: { ...exampleModel, price: { inputPerMillion: dollars, outputPerMillion: dollars } } },
});

/** What the arms are charged when a canary with one price follows a stable revision with another. */
async function chargedAfter(application: string, first: ReleaseOptions, then: ReleaseOptions) {
  const releases = releasesOn(db);
  await releases.established({ ...first, application });
  const { release } = await releases.register({ ...then, application });
  await releases.move(release, 'canary', 0.1);
  const { stable, canary } = (await readRouteTable(db)).routes[application] ?? {};
  return [stable?.model.price.inputPerMillion, canary?.model.price.inputPerMillion];
}

const runtimeOf = (seed: number) => ({ runtime: exampleRuntime(1, { seed }) });

test('a corrected price holds for both arms of one serving', async () => {
  const shared = { application: 'shared', ...runtimeOf(1) };
  const charged = await chargedAfter('shared', { ...shared, ...priced(1) }, { ...shared, ...priced(2) });
  assert.deepEqual(charged, [2, 2]);
});

test('a corrected price holds for both arms when the same model and flags run for the canary alone', async () => {
  const own = {
    application: 'own',
    ...runtimeOf(2),
    policy: { serving: { ...defaultPolicy.serving, dedicated: true } },
  };
  const charged = await chargedAfter('own', { ...own, ...priced(1) }, { ...own, ...priced(2) });
  assert.deepEqual(charged, [2, 2]);
});

test('what runs with other flags has its own price', async () => {
  const charged = await chargedAfter(
    'other',
    { application: 'other', ...runtimeOf(3), ...priced(1) },
    { application: 'other', ...runtimeOf(4), ...priced(2) },
  );
  assert.deepEqual(charged, [1, 2]);
});
