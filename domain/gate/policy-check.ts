import { guardId, metricInfo } from './metrics.ts';
import type { GatePolicy } from './types.ts';

/** @throws RangeError for a number out of range, a metric that is unknown or named twice, and one on a scale that it does not have */
export function checkPolicy(policy: GatePolicy): void {
  const share = (name: string, value: number) => {
    if (!(value > 0 && value < 1)) throw new RangeError(`${name} must lie between 0 and 1, not ${value}`);
  };
  share('weight', policy.weight);
  share('alpha.harm', policy.alpha.harm);
  share('alpha.nonInferiority', policy.alpha.nonInferiority);
  share('power', policy.power);
  if (policy.alpha.harm >= 0.5) throw new RangeError('alpha.harm must be below 0.5');
  if (!(policy.stratum > 0)) throw new RangeError('stratum must be a positive duration');
  if (policy.metrics.length === 0) throw new RangeError('metrics must name at least one metric');
  if (policy.horizons.length === 0) throw new RangeError('horizons must name at least one horizon');
  for (const [index, horizon] of policy.horizons.entries()) {
    if (!(horizon > (policy.horizons[index - 1] ?? 0))) throw new RangeError('horizons must rise');
  }
  const seen = new Set<string>();
  for (const metric of policy.metrics) {
    const id = guardId(metric);
    const kind = metricInfo(metric.metric)?.kind;
    if (!kind) throw new RangeError(`metric ${metric.metric} is not known`);
    if (seen.has(id)) throw new RangeError(`metric ${id} is named twice`);
    seen.add(id);
    if (!(metric.margin > 0) || !Number.isFinite(metric.margin))
      throw new RangeError(`margin of ${id} must be > 0`);
    if ((kind === 'positive') !== (metric.scale !== 'absolute')) {
      throw new RangeError(
        `${metric.metric} is judged on ${kind === 'positive' ? 'log-mean or p95' : 'absolute'}, not ${metric.scale}`,
      );
    }
    if (metric.scale !== 'absolute' && metric.direction === 'higher' && metric.margin >= 1) {
      throw new RangeError(`margin of ${id} must be below 1`);
    }
  }
}
