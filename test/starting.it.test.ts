import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';

/** How a process ends that is told this, and what it says last. */
async function started(main: string, env: Record<string, string>) {
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const code = new Promise<number | null>((resolve) => child.on('exit', resolve));
  const lines = (await text(child.stdout)).trim().split('\n');
  return { code: await code, said: JSON.parse(lines.at(-1) ?? '') as Record<string, unknown> };
}

const DATABASE_URL = 'postgres://nobody@127.0.0.1:9/none';
const judge = { SLIPWAY_JUDGE_URL: 'http://127.0.0.1:9/v1', SLIPWAY_JUDGE_MODEL: 'j' };

describe('a process that cannot start ends 1, and names the variable with what to do', () => {
  for (const [main, env, field] of [
    ['api/main.ts', {}, 'DATABASE_URL'],
    ['api/main.ts', { DATABASE_URL, SLIPWAY_API_PORT: 'abc' }, 'SLIPWAY_API_PORT'],
    ['workers/main.ts', { DATABASE_URL }, 'PROMETHEUS_URL'],
    ['evaluator/main.ts', { DATABASE_URL }, 'SLIPWAY_JUDGE_URL'],
    ['evaluator/main.ts', { DATABASE_URL, ...judge, SLIPWAY_EVALUATOR_PORT: '-1' }, 'SLIPWAY_EVALUATOR_PORT'],
    [
      'evaluator/main.ts',
      { DATABASE_URL, ...judge, SLIPWAY_EVALUATOR_CONCURRENCY: 'many' },
      'SLIPWAY_EVALUATOR_CONCURRENCY',
    ],
  ] satisfies [string, Record<string, string>, string][]) {
    it(`${main}: ${field}`, async () => {
      const { code, said } = await started(main, env);
      assert.deepEqual([code, said.code, said.field], [1, 'INPUT_INVALID', field]);
      assert.ok(typeof said.remedy === 'string');
    });
  }
});
