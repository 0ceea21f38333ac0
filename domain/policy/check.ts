import { formatDuration } from '../duration.ts';
import { SlipwayError } from '../errors.ts';
import { guardId, hasHistogram, metricInfo } from '../gate/metrics.ts';
import type { GateMetric } from '../gate/types.ts';
import { scalingProblem } from '../serving/scaling.ts';
import type { PolicyDraft } from './parse.ts';

interface Problem {
  field: string;
  value: unknown;
  message: string;
  remedy: string;
}

/**
 * What no single field can say: orders, sums and combinations.
 * @throws SlipwayError POLICY_INVALID; `prefix` stands before every field, e.g. `policy.`
 */
export function checkPolicy(policy: PolicyDraft, prefix = ''): void {
  const problem = [...problemsOf(policy)][0];
  if (problem === undefined) return;
  const { field, value, message, remedy } = problem;
  throw new SlipwayError('POLICY_INVALID', `${prefix}${field} ${message}`, {
    field: `${prefix}${field}`,
    value,
    remedy,
  });
}

function* problemsOf(policy: PolicyDraft): Generator<Problem> {
  yield* guardProblems(policy);
  yield* horizonProblems(policy);
  yield* metricProblems(policy);
  yield* stepProblems(policy);
  yield* servingProblems(policy);
}

function* servingProblems({ serving }: PolicyDraft): Generator<Problem> {
  const problem = scalingProblem(serving.scaling);
  if (problem !== null) yield { ...problem, field: `serving.scaling.${problem.field}` };
}

function* guardProblems({ canary }: PolicyDraft): Generator<Problem> {
  const seen = new Set<string>();
  for (const [index, { metric, ratio, plus }] of canary.guards.entries()) {
    const field = `canary.guards[${index}]`;
    if (seen.has(metric)) {
      yield {
        field: `${field}.metric`,
        value: metric,
        message: `guards ${metric} twice`,
        remedy: 'Give one guard a metric',
      };
    }
    seen.add(metric);
    if (ratio === 1 && plus === 0) {
      yield {
        field,
        value: canary.guards[index],
        message: 'would stop a canary that is as good as the stable arm',
        remedy: 'Give a ratio above 1 or a plus above 0',
      };
    }
  }
}

const DAY = 24 * 60 * 60_000;
const WEEK = 7 * DAY;

function* horizonProblems({ canary, gate }: PolicyDraft): Generator<Problem> {
  if (gate.stratum > DAY) {
    yield {
      field: 'gate.stratum',
      value: formatDuration(gate.stratum),
      message: 'is longer than a day: what went missing for some days would not show',
      remedy: 'Give 1d, or less where the horizons are shorter',
    };
  }
  for (const [index, horizon] of gate.horizons.entries()) {
    const before = gate.horizons[index - 1];
    if (before !== undefined && horizon <= before) {
      yield {
        field: `gate.horizons[${index}]`,
        value: formatDuration(horizon),
        message: `is not after the horizon before it, ${formatDuration(before)}`,
        remedy: 'Write the horizons rising',
      };
    }
    // Hours or minutes are for demonstrations and tests; what is to last for days must weigh each weekday alike.
    if (horizon >= DAY && horizon % WEEK !== 0) {
      yield {
        field: `gate.horizons[${index}]`,
        value: formatDuration(horizon),
        message: 'is not whole weeks: some weekdays would count more than others',
        remedy: `Give ${formatDuration(Math.ceil(horizon / WEEK) * WEEK)}; only a horizon of less than a day need not be whole weeks`,
      };
    }
    if (gate.stratum <= (gate.horizons[0] ?? 0) && horizon % gate.stratum !== 0) {
      yield {
        field: `gate.horizons[${index}]`,
        value: formatDuration(horizon),
        message: `is not a whole number of strata of ${formatDuration(gate.stratum)}: its last one would be judged half full`,
        remedy: `Give a multiple of gate.stratum, ${formatDuration(gate.stratum)}`,
      };
    }
  }
  const first = gate.horizons[0];
  if (first === undefined) return;
  if (first < canary.minDuration) {
    yield {
      field: 'gate.horizons[0]',
      value: formatDuration(first),
      message: `is before canary.minDuration, ${formatDuration(canary.minDuration)}`,
      remedy: `Begin the horizons at ${formatDuration(canary.minDuration)} or later, or shorten canary.minDuration`,
    };
  }
  for (const [field, value, why] of [
    ['gate.lookEvery', gate.lookEvery, 'the guards would not look before the first horizon'],
    ['gate.stratum', gate.stratum, 'the first horizon would hold no whole stratum'],
  ] as const) {
    if (field === 'gate.lookEvery' ? value >= first : value > first) {
      yield {
        field,
        value: formatDuration(value),
        message: `is too long for the first horizon of ${formatDuration(first)}: ${why}`,
        remedy: `Give ${field} less than ${formatDuration(first)}`,
      };
    }
  }
  if (canary.maxAge < gate.lookEvery) {
    yield {
      field: 'canary.maxAge',
      value: formatDuration(canary.maxAge),
      message: `is shorter than the time between two looks, ${formatDuration(gate.lookEvery)}`,
      remedy: `Give canary.maxAge at least ${formatDuration(gate.lookEvery)}`,
    };
  }
}

function* metricProblems({ canary, gate }: PolicyDraft): Generator<Problem> {
  const seen = new Set<string>();
  for (const [index, metric] of gate.metrics.entries()) {
    const field = `gate.metrics[${index}]`;
    const id = guardId(metric);
    if (seen.has(id)) {
      yield {
        field,
        value: id,
        message: `judges ${id} twice`,
        remedy: 'Give each metric once on each scale',
      };
    }
    seen.add(id);
    yield* metricProblem(metric, field);
    if (metricInfo(metric.metric)?.kind === 'score' && canary.scoredShare === 0) {
      yield {
        field: 'canary.scoredShare',
        value: canary.scoredShare,
        message: `leaves ${metric.metric} without a score, so that the gate could never speak`,
        remedy: 'Give canary.scoredShare more than 0, or judge no quality',
      };
    }
  }
}

function* metricProblem({ metric, direction, scale, margin }: GateMetric, field: string): Generator<Problem> {
  const kind = metricInfo(metric)?.kind;
  if (kind !== 'score' && direction === 'higher') {
    yield {
      field: `${field}.direction`,
      value: direction,
      message: `is wrong for ${metric}, of which less is better`,
      remedy: 'Write direction: lower',
    };
  }
  if ((kind === 'positive') === (scale === 'absolute')) {
    yield {
      field: `${field}.scale`,
      value: scale,
      message: `does not suit ${metric}`,
      remedy:
        kind === 'positive'
          ? `Judge ${metric} by log-mean${hasHistogram(metric) ? ' or p95' : ''}, with the margin as a share`
          : `Judge ${metric} by absolute, with the margin in its own unit`,
    };
  }
  if (scale === 'p95' && kind === 'positive' && !hasHistogram(metric)) {
    yield {
      field: `${field}.scale`,
      value: scale,
      message: `cannot be measured for ${metric}: the ledger keeps its sums, and no histogram`,
      remedy: `Judge ${metric} by log-mean`,
    };
  }
  if (kind !== 'positive' && margin >= 1) {
    yield {
      field: `${field}.margin`,
      value: margin,
      message: `tolerates any ${metric}: it lies between 0 and 1`,
      remedy: 'Give a margin below 1, e.g. 0.02',
    };
  }
}

function* stepProblems({ canary, promotion }: PolicyDraft): Generator<Problem> {
  const { steps } = promotion;
  for (const [index, step] of steps.entries()) {
    const before = steps[index - 1] ?? canary.weight;
    if (step <= before) {
      yield {
        field: `promotion.steps[${index}]`,
        value: step,
        message: `is not above ${index === 0 ? 'canary.weight' : 'the step before it'}, ${before}`,
        remedy: 'Write the steps rising from above the canary weight to 1, e.g. [0.25, 0.5, 1]',
      };
    }
  }
  if (steps.at(-1) !== 1) {
    yield {
      field: `promotion.steps[${steps.length - 1}]`,
      value: steps.at(-1),
      message: 'does not end the promotion',
      remedy: 'Make the last step 1',
    };
  }
}
