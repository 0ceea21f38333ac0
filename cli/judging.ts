import { SlipwayError } from '../domain/errors.ts';
import type { CsvQuestion } from '../domain/gate/csv-judgement.ts';
import { planGate } from '../domain/gate/plan.ts';
import { parsePlan } from '../domain/gate/plan-file.ts';
import type { GatePolicy } from '../domain/gate/types.ts';
import { parseIsoTime } from '../domain/iso-time.ts';
import { draftPolicy } from '../domain/policy/parse.ts';
import type { ApiClient } from './client.ts';
import { UsageError } from './exit.ts';
import { parseFile, policyFile } from './files.ts';
import type { Evidence, Release } from './types.ts';

/** By what a CSV is to be judged, as the command line says it: exactly one of policy, plan and release. */
export interface JudgeOptions {
  policy?: string;
  plan?: string;
  release?: string;
  from?: string;
  to?: string;
  phase?: string[];
}

/** A verdict that a release has of its own. */
export interface Recorded {
  release: string;
  horizon: number;
  digest: string;
}

/** `context.api` is asked for with --release only: files need none. */
export async function questionOf(
  context: { readonly api: ApiClient },
  options: JudgeOptions,
): Promise<{ question: CsvQuestion; recorded: Recorded | null }> {
  const { policy, plan, release } = options;
  if ([policy, plan, release].filter((given) => given !== undefined).length !== 1) {
    throw new UsageError('give one of --policy, --plan and --release');
  }
  if (release !== undefined) return ofRelease(context.api, release, options);
  const from = options.from === undefined ? undefined : timeOf('from', options.from);
  const to = options.to === undefined ? undefined : timeOf('to', options.to);
  if (from !== undefined && to !== undefined && to <= from) {
    throw invalid('to', options.to, '--to is not after --from', 'Give the end of the data after its start');
  }
  const made =
    plan === undefined ? planGate(await gateFile(policy ?? ''), null) : await parseFile(plan, parsePlan);
  return { question: { plan: made, from, to, phases: phasesOf(options.phase ?? []) }, recorded: null };
}

/** The gate's part of a policy file. */
export async function gateFile(file: string): Promise<GatePolicy> {
  const { gate, canary } = draftPolicy(await policyFile(file));
  return { ...gate, weight: canary.weight };
}

/** The release's plan, start and weights, and its last verdict if it has one. */
async function ofRelease(
  api: ApiClient,
  id: string,
  { from, to, phase }: JudgeOptions,
): Promise<{ question: CsvQuestion; recorded: Recorded | null }> {
  if (from !== undefined || to !== undefined || phase !== undefined) {
    throw new UsageError('--from, --to and --phase do not go with --release: it knows them itself');
  }
  const { release, plan, canarySince, weights, verdicts } = await api.call<Evidence>(
    'GET',
    `/v1/releases/${encodeURIComponent(id)}/evidence`,
  );
  if (plan === null || canarySince === null) {
    const { endedAt } = await api.call<Release>('GET', `/v1/releases/${encodeURIComponent(id)}`);
    const [message, remedy] =
      endedAt === null
        ? ['has no canary yet', 'Ask again when its canary has begun, or judge with --policy']
        : ['has ended and never had a canary', 'Judge with --policy'];
    throw new SlipwayError('NOT_FOUND', `release ${release} ${message}`, {
      field: 'release',
      value: release,
      remedy,
    });
  }
  const last = verdicts.at(-1);
  return {
    question: {
      plan: plan.plan,
      from: Date.parse(canarySince),
      to: last && Date.parse(last.judgedAt),
      horizon: last?.horizon,
      // The promotion's steps come after all that the gate judges.
      phases: weights.slice(1).map((weight) => ({ since: Number.POSITIVE_INFINITY, weight })),
    },
    recorded: last ? { release, horizon: last.horizon, digest: last.digest } : null,
  };
}

function phasesOf(given: readonly string[]): { since: number; weight: number }[] {
  let before = Number.NEGATIVE_INFINITY;
  return given.map((text) => {
    const [, time = '', share = ''] = /^(.*)=(.*)$/.exec(text) ?? [];
    const since = timeOf('phase', time, text);
    const weight = /^\d*\.?\d+$/.test(share) ? Number(share) : Number.NaN;
    if (!(weight > 0 && weight < 1)) {
      throw invalid('phase', text, 'a phase has no weight', 'Give TIME=WEIGHT, the weight between 0 and 1');
    }
    if (since <= before) {
      throw invalid('phase', text, 'phases do not rise', 'Give phases in the order of their times');
    }
    before = since;
    return { since, weight };
  });
}

function timeOf(option: string, text: string, value = text): number {
  const at = parseIsoTime(text);
  if (at !== null) return at;
  const remedy = 'Write ISO 8601 with Z or an offset, for example 2026-01-05T09:30:00Z';
  throw invalid(option, value, `--${option} has a time that cannot be read`, remedy);
}

function invalid(field: string, value: string | undefined, message: string, remedy: string): SlipwayError {
  return new SlipwayError('INPUT_INVALID', message, { field, value, remedy });
}
