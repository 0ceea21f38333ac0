import assert from 'node:assert/strict';
import { it } from 'node:test';
import { gpuHours, isDue } from '../../../domain/serving/reaping.ts';

const HOUR = 3_600_000;
const T = Date.UTC(2026, 0, 5);

it('counts GPU hours: GPUs times hours', () => {
  const cases: [gpus: number, ms: number, hours: number][] = [
    [1, HOUR, 1],
    [8, HOUR / 2, 4],
    [4, 24 * HOUR, 96],
    [2, 90_000, 0.05],
    [0, HOUR, 0],
    [8, 0, 0],
    [8, -HOUR, 0],
  ];
  for (const [gpus, ms, hours] of cases) assert.equal(gpuHours(gpus, T, T + ms), hours, `${gpus} × ${ms} ms`);
});

it('takes nothing before its grace is over, and never what it is the first to see', () => {
  const cases: [age: number, grace: number, due: boolean][] = [
    [HOUR - 1, HOUR, false],
    [HOUR, HOUR, true],
    [0, 0, false],
    [1, 0, true],
    [-1, 0, false],
  ];
  for (const [age, grace, due] of cases) assert.equal(isDue(T, T + age, grace), due, `${age} of ${grace}`);
});
