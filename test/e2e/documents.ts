import { readFileSync } from 'node:fs';
import { parsePromptFile } from '../../domain/prompt/parse.ts';
import { APPLICATION } from './world.ts';

/** What the tests push and ask for; the policy squeezes a week into some twelve seconds. */

const better = new URL('../../examples/support-answers/prompts/v2-better.md', import.meta.url);

/** A prompt that answers well, and is another one for another rule. */
export function prompt(rule: string) {
  const { content } = parsePromptFile(readFileSync(better, 'utf8'));
  return { name: APPLICATION, content: { ...content, system: `${content.system}\nHouse rule: ${rule}.` } };
}

const cases = [
  ['What is the price of express delivery?', '12 euros'],
  ['How much must I order for free shipping?', '60'],
  ['How long does a standard parcel take to arrive?', '5 business days'],
].map(([input, value]) => ({ vars: { input }, assert: [{ type: 'contains', value }] }));

export const goldenSet = () => ({ name: APPLICATION, content: { cases } });

/** It takes many minutes to go through. */
export const endlessGoldenSet = () => ({
  name: `${APPLICATION}-endless`,
  content: { cases: Array.from({ length: 600 }, () => cases).flat() },
});

export const guardrails = () => ({ name: APPLICATION, content: { input: [], output: [] } });

const llama = {
  name: 'meta-llama/Llama-3.1-8B-Instruct',
  architecture: { layers: 32, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 15 },
  price: { inputPerMillion: 0.05, outputPerMillion: 0.1 },
};

/** Its weights take seconds to load. */
const bigLlama = {
  name: 'meta-llama/Llama-3.1-70B-Instruct',
  architecture: { layers: 80, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 132 },
  price: { inputPerMillion: 0.5, outputPerMillion: 1 },
};

export const REPLICAS = 2;

const runtime = (flags: Record<string, number>, gpus: number) => ({
  flags: { 'max-model-len': 8192, 'max-num-seqs': 64, 'stream-interval': 8, ...flags },
  gpu: { kind: 'A100-80GB', memoryGiB: 80, count: gpus },
  concurrency: 16,
  replicas: REPLICAS,
});

/** Model and runtime of a serving that no other release has. */
export function ownServing(which: Size) {
  return ownServings[which];
}

export type Size = keyof typeof ownServings;

const ownServings = {
  small: { model: llama, runtime: runtime({ 'max-num-seqs': 96 }, 1) },
  /** Another small one. */
  other: { model: llama, runtime: runtime({ 'max-num-seqs': 80 }, 1) },
  big: { model: bigLlama, runtime: runtime({ 'tensor-parallel-size': 4 }, 4) },
};

export type Policy = Record<string, Record<string, unknown>>;

const quick: Policy = {
  // One of three is enough: how well a prompt answers is not what these tests are about.
  evaluation: { minAccuracy: 0.2, maxP95: '60s' },
  // Tests count processes; a busy machine would make a serving grow.
  serving: { readyWithin: '170s', scaling: { maxReplicas: REPLICAS } },
  canary: {
    weight: 0.5,
    minDuration: '12s',
    guardWindow: '10s',
    guardMinRequests: 20,
    maxAge: '10m',
    scoredShare: 0,
    guards: [{ metric: 'errors', ratio: 1, plus: 0.5 }],
  },
  gate: {
    horizons: ['12s', '24s', '48s', '96s', '144s'],
    minSamples: 100,
    minUsers: 100,
    lookEvery: '1s',
    stratum: '4s',
    metrics: [
      { metric: 'error', direction: 'lower', margin: 0.4, scale: 'absolute', role: 'guard' },
      { metric: 'latency', direction: 'lower', margin: 30, scale: 'log-mean', role: 'guard' },
    ],
  },
  signOff: { required: true, timeout: '10m' },
  promotion: { steps: [0.75, 1], hold: '2s' },
  baking: { duration: '2s' },
};

/** The quick policy, section by section over itself. */
export function policy(over: Policy = {}): Policy {
  const sections = Object.entries(quick).map(([name, section]) => [name, { ...section, ...over[name] }]);
  return Object.fromEntries(sections);
}

export const firstRelease = () => ({
  application: APPLICATION,
  prompt: `${APPLICATION}@1`,
  goldenSet: `${APPLICATION}@1`,
  guardrails: `${APPLICATION}@1`,
  model: llama,
  runtime: runtime({}, 1),
  policy: policy(),
});
