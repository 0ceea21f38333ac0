import { z } from 'zod';
import { duration, hints, positiveDuration } from '../validation.ts';
import { guardMetrics, type Policy } from './policy.ts';

const share = z.number().min(0).max(1);
const chance = z.number().gt(0).lt(1);
const count = z.number().int().min(1);

/** `name@n` of something pushed before. */
export const reference = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}@[1-9]\d{0,8}$/, 'is not a name@n');
hints.add(reference, { remedy: 'Name a pushed version as name@n, e.g. support-answers@3' });

const evaluation = z.strictObject({
  goldenSet: reference,
  minAccuracy: z.number().min(0).lt(1),
  maxP95: positiveDuration,
});

const scaling = z.strictObject({
  by: z.enum(['slipway', 'autoscaler']),
  minReplicas: count,
  maxReplicas: count,
  target: z.number().gt(0).max(1),
  shrinkBelow: z.number().min(0).lt(1),
  shrinkAfter: positiveDuration,
  maxCostPerHour: z.number().gt(0).nullable(),
  gpuHourPrice: z.number().gt(0).nullable(),
});

const serving = z.strictObject({ dedicated: z.boolean(), readyWithin: positiveDuration, scaling });

const guard = z.strictObject({
  metric: z.enum(guardMetrics),
  ratio: z.number().min(1),
  plus: z.number().min(0),
});

const canary = z.strictObject({
  weight: z.number().gt(0).max(0.5),
  minDuration: duration,
  guards: z.array(guard),
  guardWindow: positiveDuration,
  guardMinRequests: count,
  maxAge: positiveDuration,
  scoredShare: share,
});

const metricName = z
  .string()
  .regex(
    /^(error|violation|latency|ttft|tpot|cost|quality:[a-z0-9][a-z0-9_-]*)$/,
    'is not a metric of the gate',
  );
hints.add(metricName, {
  remedy:
    'Give one of: error, violation, latency, ttft, tpot, cost, or quality: and the name of an evaluator',
});

const metric = z.strictObject({
  metric: metricName,
  direction: z.enum(['higher', 'lower']),
  margin: z.number().gt(0),
  scale: z.enum(['absolute', 'log-mean', 'p95']),
  role: z.enum(['guard', 'success']),
});

const alpha = z.strictObject({ harm: chance, nonInferiority: chance });

const gate = z.strictObject({
  horizons: z.array(positiveDuration).min(1),
  minSamples: count,
  minUsers: count,
  lookEvery: positiveDuration,
  alpha,
  power: chance,
  metrics: z.array(metric).min(1),
  stratum: positiveDuration,
});

const signOff = z.strictObject({ required: z.boolean(), timeout: positiveDuration });
const promotion = z.strictObject({ steps: z.array(share).min(1), hold: duration });
const baking = z.strictObject({ duration });

/** A whole policy, durations written as `7d` on the wire. */
export const policySchema: z.ZodType<Policy, unknown> = z.strictObject({
  evaluation,
  serving,
  canary,
  gate,
  signOff,
  promotion,
  baking,
});

/** What a release or a policy file says of it; the rest is the default policy's. Lists replace the default's. */
export const policyInputSchema = z.strictObject({
  evaluation: evaluation.partial().optional(),
  serving: serving.extend({ scaling: scaling.partial() }).partial().optional(),
  canary: canary.partial().optional(),
  gate: gate.extend({ alpha: alpha.partial() }).partial().optional(),
  signOff: signOff.partial().optional(),
  promotion: promotion.partial().optional(),
  baking: baking.partial().optional(),
});
hints.add(policyInputSchema, { code: 'POLICY_INVALID' });

export type PolicyInput = z.output<typeof policyInputSchema>;
