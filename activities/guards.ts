import type { Answer, Prometheus } from '../adapters/prometheus/prometheus.ts';
import {
  type ArmMeasurement,
  type ArmSelector,
  type GuardLook,
  guardQueries,
  lookAt,
  type Measured,
  readGuard,
} from '../domain/guards.ts';
import type { CanaryPolicy, GuardMetric } from '../domain/policy/policy.ts';

export interface GuardSubject {
  application: string;
  /** Digests of the revisions. */
  canary: string;
  stable: string;
  policy: Pick<CanaryPolicy, 'guards' | 'guardWindow' | 'guardMinRequests'>;
}

/** One look of the guards: asks Prometheus about both arms now. Never throws for a measurement that failed: its reading says so. */
export async function measureGuards(prometheus: Prometheus, subject: GuardSubject): Promise<GuardLook> {
  const { application, canary, stable, policy } = subject;
  const readings = await Promise.all(
    policy.guards.map(async (guard) => {
      const measure = (selector: ArmSelector): Promise<ArmMeasurement> =>
        measureArm(prometheus, guard.metric, selector, policy.guardWindow);
      const [onCanary, onStable] = await Promise.all([
        measure({ application, arm: 'canary', revision: canary }),
        measure({ application, arm: 'stable', revision: stable }),
      ]);
      return readGuard(guard, { canary: onCanary, stable: onStable }, policy.guardMinRequests);
    }),
  );
  return lookAt(readings);
}

async function measureArm(
  prometheus: Prometheus,
  metric: GuardMetric,
  selector: ArmSelector,
  windowMs: number,
): Promise<ArmMeasurement> {
  const queries = guardQueries(metric, selector, windowMs);
  // One after the other: a value that is still missing when its requests are there is missing for another reason.
  const asked = await prometheus.query(queries.requests);
  const all = queries.population === null ? null : await prometheus.query(queries.population.requests);
  const answer = await prometheus.query(queries.value);
  let requests = measuredOf(asked);
  const population = all === null ? undefined : measuredOf(all);
  if (asked.kind === 'empty' && queries.population !== null && all?.kind === 'value') {
    requests = await zeroIfKnown(prometheus, queries.population.metric);
  }
  let value = measuredOf(answer);
  if (answer.kind === 'empty' && queries.zeroIfAbsent !== null) {
    value = await zeroIfKnown(prometheus, queries.zeroIfAbsent);
  }
  return { requests, value, population };
}

async function zeroIfKnown(prometheus: Prometheus, metric: string): Promise<Measured> {
  const known = await prometheus.knows(metric);
  if (typeof known === 'object') return { missing: known.message };
  return known ? { value: 0 } : { missing: `Prometheus knows no metric ${metric}` };
}

function measuredOf(answer: Answer): Measured {
  switch (answer.kind) {
    case 'value':
      return { value: answer.value };
    case 'empty':
      return { missing: 'Prometheus has no data for it' };
    case 'nan':
      return { missing: `the result is ${answer.value}` };
    default:
      return { missing: answer.message };
  }
}
