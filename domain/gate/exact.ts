/** Sums that do not depend on order: of integers, exact, fast enough for millions of rows. */

/** Integers are kept as high · LIMB + low. */
export const LIMB = 2 ** 26;

/** Exact sum of integers below 2^53 in magnitude: two limbs, each exact for 2^26 terms. */
export class ExactSum {
  private high = 0;
  private low = 0;

  add(value: number): void {
    const high = Math.floor(value / LIMB);
    this.high += high;
    this.low += value - high * LIMB;
  }

  total(): bigint {
    return BigInt(this.high) * BigInt(LIMB) + BigInt(this.low);
  }
}

/** Exact sum of squares of integers below 2^52 in magnitude, from the squares and the product of their limbs. */
export class ExactSumOfSquares {
  private readonly high = new ExactSum();
  private readonly cross = new ExactSum();
  private readonly low = new ExactSum();

  add(value: number): void {
    const high = Math.floor(value / LIMB);
    const low = value - high * LIMB;
    this.high.add(high * high);
    this.cross.add(high * low);
    this.low.add(low * low);
  }

  total(): bigint {
    const limb = BigInt(LIMB);
    return this.high.total() * limb * limb + 2n * this.cross.total() * limb + this.low.total();
  }
}
