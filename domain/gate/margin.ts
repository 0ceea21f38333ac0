import type { GateMetric } from './types.ts';

/** The margin on the scale of the estimate: ln(1 + margin) for a ratio that must not grow, −ln(1 − margin) for one that must not shrink. */
export function toleranceOf(metric: GateMetric): number {
  if (metric.scale === 'absolute') return metric.margin;
  return metric.direction === 'lower' ? Math.log1p(metric.margin) : -Math.log1p(-metric.margin);
}

/** A harm on the estimate's scale, written like a margin. */
export function harmAsMargin(metric: GateMetric, effect: number): number {
  if (metric.scale === 'absolute') return effect;
  return metric.direction === 'lower' ? Math.expm1(effect) : -Math.expm1(-effect);
}

/** A gain on the estimate's scale, written like a margin. */
export function gainAsMargin(metric: GateMetric, effect: number): number {
  if (metric.scale === 'absolute') return effect;
  return metric.direction === 'lower' ? -Math.expm1(-effect) : Math.expm1(effect);
}
