/**
 * Layout of the histograms from which percentiles are judged: buckets 5 % wide on a logarithmic scale, sparse. Bucket b holds the values
 * with 1.05^b ≤ value < 1.05^(b+1), in the metric's unit; b fits a smallint. The width bounds the error of a percentile by 5 % before
 * interpolation, well under the 15 % margin that it is judged by.
 */
const STEP = Math.log(1.05);
const LAST = 600;

/** Bucket of a value > 0; values ≤ 0 and values out of 1.05^±600 (about 2e-13 to 5e12) go to the first or last bucket. NaN is refused. */
export function bucketOf(value: number): number {
  if (Number.isNaN(value)) throw new RangeError('NaN has no bucket');
  if (value <= 0) return -LAST;
  return Math.min(LAST, Math.max(-LAST, Math.floor(Math.log(value) / STEP)));
}

/** Natural logarithm of the lower bound of a bucket. */
export function lnLowerBound(bucket: number): number {
  return bucket * STEP;
}
