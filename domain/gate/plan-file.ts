import { z } from 'zod';
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

/** Reads a plan as `gate plan --json` prints it. @throws SlipwayError INPUT_INVALID */
export function parsePlan(text: string): GatePlan {
  const value = parseYaml(text, 'INPUT_INVALID', 'JSON');
  return validate(schema, value, 'INPUT_INVALID') as unknown as GatePlan;
}
