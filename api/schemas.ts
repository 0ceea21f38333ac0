import { z } from 'zod';
import { stages } from '../domain/words.ts';

const stage = z.enum(stages);
const phase = z.enum(['Progressing', 'Paused', 'Healthy', 'Degraded']);
const weight = z.strictObject({
  desired: z.number().describe('Share of users that was asked for on the canary arm'),
  observed: z.number().describe('What every live gateway acknowledged last'),
});

export const releaseParams = z.strictObject({ id: z.string().min(1).max(300) });

/** What the workflow answers after a decision. */
export const releaseStatus = z.strictObject({
  release: z.string().nullable(),
  application: z.string(),
  stage,
  phase,
  weight,
  reason: z.string().nullable(),
  candidate: z.string().nullable(),
  stable: z.string().nullable(),
  requester: z.string(),
  evidence: z.string().nullable(),
  verdict: z.string().nullable(),
  startedAt: z.string(),
  canarySince: z.string().nullable(),
  horizon: z.strictObject({ index: z.number().int(), at: z.string() }).nullable(),
});

const pendingActivity = z.strictObject({
  activity: z.string(),
  attempt: z.number().int(),
  message: z.string().nullable().describe('Why the last attempt ended, e.g. "412 of 1000 samples"'),
  code: z.string().nullable().describe('NOT_YET for a watch that looks again'),
  progress: z.unknown().describe('What the running attempt reports'),
  nextAttemptAt: z.date().nullable(),
});

const armCount = z.strictObject({ samples: z.number().int(), users: z.number().int() });

export const releaseView = z.strictObject({
  release: z.string(),
  application: z.string(),
  requester: z.string(),
  stage,
  phase,
  reason: z.string().nullable(),
  candidate: z.string().nullable().describe('Digest of the revision that is released'),
  stable: z.string().nullable().describe('Digest of the revision to return to'),
  weight: weight.nullable().describe('null while no worker answers'),
  evidence: z.string().nullable().describe('What an approval must name, once the gate has spoken'),
  verdict: z.string().nullable(),
  horizon: z.strictObject({ index: z.number().int(), at: z.date() }).nullable(),
  startedAt: z.date(),
  canarySince: z.date().nullable(),
  endedAt: z.date().nullable(),
  samples: z
    .strictObject({ stable: armCount, canary: armCount })
    .nullable()
    .describe('What the ledger holds of each arm; null before the canary'),
  pending: z.array(pendingActivity).describe('What the release waits for'),
  live: z.boolean().describe('Did the workflow itself answer? Otherwise the store did'),
});
z.globalRegistry.add(releaseView, { id: 'Release' });

export const releaseSummary = z.strictObject({
  release: z.string(),
  application: z.string(),
  requester: z.string(),
  stage,
  phase,
  reason: z.string().nullable(),
  candidate: z.string(),
  stable: z.string().nullable(),
  startedAt: z.date(),
  endedAt: z.date().nullable(),
});

export const storyLine = z.strictObject({ at: z.string(), stage, text: z.string() });
