/**
 * Strata: slices of time in which the weight did not change. Arms are compared within a stratum only, so neither a day with better answers
 * nor a ramp of the weight can pass for an effect of the canary (Simpson's paradox).
 */
const PHASES = 64;

/**
 * Id of the stratum of a sample: slices of `length` ms counted from `from`, the start of the canary, times 64, plus the phase (0–63; it grows
 * by one whenever the weight changes). Negative for a sample from before the start.
 */
export function stratumId(sample: { at: number; from: number; length: number; phase?: number }): number {
  const phase = sample.phase ?? 0;
  if (!Number.isInteger(phase) || phase < 0 || phase >= PHASES)
    throw new RangeError(`phase ${phase} is not in 0–63`);
  return Math.floor((sample.at - sample.from) / sample.length) * PHASES + phase;
}

export function sliceOf(stratum: number): number {
  return Math.floor(stratum / PHASES);
}

export function phaseOf(stratum: number): number {
  return stratum - sliceOf(stratum) * PHASES;
}

/** Clocks of gateways, control plane and looks may differ by so much, ms; a sample that is dated further off tells of a wrong one. */
export const CLOCK_TOLERANCE = 60_000;
