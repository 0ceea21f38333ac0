import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { parseDuration } from '../../domain/duration.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { validate } from '../../domain/validation.ts';

/** The kinds of search attribute that Temporal knows. */
export const searchAttributeTypes = [
  'Keyword',
  'KeywordList',
  'Text',
  'Int',
  'Double',
  'Bool',
  'Datetime',
] as const;
export type SearchAttributeType = (typeof searchAttributeTypes)[number];

/** Temporal refuses a retention below an hour. */
const MIN_RETENTION_MS = 3_600_000;

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/, 'letters, digits, dot, dash and underscore only');
const limit = z.int().min(1).max(100_000);
const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text);
  if (ms !== null) return ms;
  context.addIssue({
    code: 'custom',
    message: `${JSON.stringify(text)} is no duration`,
    params: { remedy: 'Give a number and a unit: ms, s, m, h or d, e.g. 90d' },
  });
  return z.NEVER;
});

/** More often is no use: a run takes a second, and each one leaves a closed workflow behind. */
const MIN_EVERY_MS = 10_000;
const every = duration.refine((ms) => ms >= MIN_EVERY_MS, {
  message: 'is too often',
  params: { remedy: 'Give at least 10s' },
});

const schema = z.strictObject({
  namespace: z.strictObject({
    name,
    description: z.string().max(500).default(''),
    retention: duration.refine((ms) => ms >= MIN_RETENTION_MS, {
      message: 'is too short',
      params: { remedy: 'Give at least 1h: Temporal refuses less' },
    }),
  }),
  searchAttributes: z.record(name, z.enum(searchAttributeTypes)),
  taskQueue: z.strictObject({
    name,
    worker: z.strictObject({
      maxConcurrentWorkflowTaskExecutions: limit.min(2), // the SDK wants room for a sticky and a normal one
      maxConcurrentActivityTaskExecutions: limit,
      maxCachedWorkflows: limit,
      shutdownGraceTime: duration,
    }),
  }),
  /** Ends releases whose workflow ended unfinished, `grace` ms after that; left out: no schedule. */
  sweeper: z.strictObject({ every, grace: duration }).optional(),
  /** Reports servings that nobody needs and, without `dryRun`, removes them `grace` ms after it first saw them so; left out: no schedule. */
  reaper: z.strictObject({ every, grace: duration, dryRun: z.boolean().default(true) }).optional(),
  localServer: z.strictObject({
    dynamicConfig: z.record(
      z
        .string()
        .regex(
          /^[A-Za-z]+(\.[A-Za-z0-9]+)+$/,
          'a key of the server, e.g. history.timerProcessorMaxTimeShift',
        ),
      z.union([z.string(), z.number(), z.boolean()]),
    ),
  }),
});

/** temporal.yaml as it is used; durations are milliseconds. */
export type Topology = z.output<typeof schema>;

/** Parses temporal.yaml. Throws TOPOLOGY_INVALID naming the field, the value and the remedy. */
export function parseTopology(text: string): Topology {
  const document = parseDocument(text, { prettyErrors: true });
  const problem = document.errors[0];
  if (problem) {
    throw new SlipwayError('TOPOLOGY_INVALID', `temporal.yaml is not YAML: ${problem.message}`, {
      remedy: 'Correct the line that the message names.',
    });
  }
  return validate(schema, document.toJS(), 'TOPOLOGY_INVALID');
}

const REPOSITORYS_OWN = fileURLToPath(new URL('../../temporal.yaml', import.meta.url));

/** The topology of this installation: SLIPWAY_TEMPORAL_TOPOLOGY names another file than the repository's own temporal.yaml. */
export async function loadTopology(
  file: string = process.env.SLIPWAY_TEMPORAL_TOPOLOGY || REPOSITORYS_OWN,
): Promise<Topology> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new SlipwayError(
      'TOPOLOGY_INVALID',
      `${file} cannot be read`,
      { field: 'SLIPWAY_TEMPORAL_TOPOLOGY', value: file, remedy: 'Name a file that exists, or unset it.' },
      { cause },
    );
  }
  return parseTopology(text);
}
