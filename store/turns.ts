import { SlipwayError } from '../domain/errors.ts';

/** Lets at most so many work at once; the others wait, first come, first served. */
export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** @throws SlipwayError DEPENDENCY_UNAVAILABLE when the turn does not come within so many ms; the work was not begun */
  async take<T>(withinMs: number, work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(withinMs);
    try {
      return await work();
    } finally {
      this.#pass();
    }
  }

  #turn(withinMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(begin);
        reject(
          new SlipwayError('DEPENDENCY_UNAVAILABLE', 'other servings hold this worker up for too long', {
            field: 'serving',
            remedy: 'It is tried again by itself; look at the cluster, or add workers, if that goes on',
          }),
        );
      }, withinMs);
      this.#waiting.add(begin);
    });
  }

  /** To the next who waits. */
  #pass(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
