import { SlipwayError } from '../domain/errors.ts';

/** What one tenant may have on its way at once; more would only wait, before what others send. */
const AT_ONCE = 20;

/** Bounds how much of the gateway a single tenant's burst can take. */
export class TenantLimit {
  readonly #underway = new Map<string, number>();

  /** @throws SlipwayError TOO_MANY_REQUESTS when the tenant has too much on its way already */
  async run<T>(tenant: string, work: () => Promise<T>): Promise<T> {
    const underway = this.#underway.get(tenant) ?? 0;
    if (underway >= AT_ONCE) {
      throw new SlipwayError('TOO_MANY_REQUESTS', `${underway} of your requests are still on their way`, {
        remedy: `Send at most ${AT_ONCE} at once, and this one again in a moment`,
      });
    }
    this.#underway.set(tenant, underway + 1);
    try {
      return await work();
    } finally {
      const left = (this.#underway.get(tenant) ?? 1) - 1;
      if (left > 0) this.#underway.set(tenant, left);
      else this.#underway.delete(tenant);
    }
  }
}
