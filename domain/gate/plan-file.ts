import { z } from 'zod';
import { digestOf } from '../digest.ts';
import { SlipwayError } from '../errors.ts';
import { hints, parseYaml, validate } from '../validation.ts';
import { metricInfo } from './metrics.ts';
import type { GatePlan } from './types.ts';

const chance = z.number().gt(0).lt(1);
const length = z.number().gt(0);

const metric = z.looseObject({
  metric: z.string().refine((name) => metricInfo(name) !== null, 'is not a metric of the gate'),
  direction: z.enum(['higher', 'lower']),
  scale: z.enum(['absolute', 'log-mean', 'p95']),
  margin: length,
  role: z.enum(['guard', 'success']),
});

/** What a judgement and its words read of a plan. */
const schema = z.looseObject({
  digest: z.string(),
  version: z.literal(1),
  policy: z.looseObject({
    weight: chance,
    stratum: length,
    minSamples: z.number(),
    minUsers: z.number(),
    metrics: z.array(metric).min(1),
  }),
  guards: z
    .array(
      z.looseObject({
        guard: z.string(),
        metric,
        tolerance: length,
        alphaHarm: chance,
        alphaFirstError: z.number().min(0).lt(1),
        tau2: length,
        smallestHarmAsMargin: z.number(),
      }),
    )
    .min(1),
  horizons: z.array(z.looseObject({ after: length, alpha: chance })).min(1),
  assumed: z.boolean(),
  refusal: z.looseObject({ words: z.string() }).nullable(),
  words: z.array(z.string()),
});
hints.add(schema, { remedy: 'Give a plan as `slipway gate plan --json` prints it, unchanged' });

/** A plan as `gate plan --json` prints it: with the digest that verdicts name, so that an edit shows. */
export function printedPlan(plan: GatePlan): { digest: string } & GatePlan {
  return { digest: digestOf(plan), ...plan };
}

/** Reads a plan as `gate plan --json` prints it. @throws SlipwayError INPUT_INVALID, also if it was changed since */
export function parsePlan(text: string): GatePlan {
  const value = parseYaml(text, 'INPUT_INVALID', 'JSON');
  const { digest, ...plan } = validate(schema, value, 'INPUT_INVALID');
  const own = digestOf(plan);
  if (digest === own) return plan as unknown as GatePlan;
  throw new SlipwayError('INPUT_INVALID', 'the plan was changed after it was printed', {
    field: 'digest',
    value: digest,
    remedy: `Give the plan of that digest, unchanged; this one's is ${own}. For another policy make another plan.`,
  });
}
