/** For how long an endpoint that failed is not asked while others can be: longer each time that it fails again. */
const FIRST_SET_ASIDE_MS = 1_000;
const LONGEST_SET_ASIDE_MS = 30_000;
/** Nobody has asked an endpoint for so long after its time aside: it is gone, and what it did is forgotten. */
const FORGET_MS = 600_000;
/** Answers in a row that are the engine's own failure, before it counts as broken: one alone may be the request's doing. */
const ERRORS_IN_A_ROW = 3;

interface Trouble {
  /** Times in a row that it was set aside. */
  failures: number;
  until: number;
  /** One request is finding out whether it is back. */
  trial: boolean;
}

/**
 * Chooses among replicas: the one with the fewest requests outstanding from this gateway. Those that failed come last, so that never all of
 * them are out: without others they are asked all the same.
 */
export class Endpoints {
  readonly #outstanding = new Map<string, number>();
  readonly #troubles = new Map<string, Trouble>();
  readonly #errors = new Map<string, number>();
  #turn = 0;

  /** @returns null when there is no endpoint besides those already tried */
  choose(endpoints: readonly string[], tried: readonly string[], now: number): string | null {
    let best: string[] = [];
    let bestRank = Number.POSITIVE_INFINITY;
    for (const endpoint of endpoints) {
      if (tried.includes(endpoint)) continue;
      const aside = (this.#troubles.get(endpoint)?.until ?? 0) > now;
      const rank = (this.#outstanding.get(endpoint) ?? 0) + (aside ? 1e9 : 0);
      if (rank < bestRank) {
        best = [endpoint];
        bestRank = rank;
      } else if (rank === bestRank) {
        best.push(endpoint);
      }
    }
    // Ties go round, so that an idle gateway does not send everything to the first replica.
    this.#turn = (this.#turn + 1) % 0x3fffffff;
    const chosen = best[this.#turn % best.length] ?? null;
    if (chosen !== null) this.#tryAgain(chosen, now);
    return chosen;
  }

  /** Its time aside is over, but with the fewest outstanding it would now get everything: one request goes ahead of the others. */
  #tryAgain(endpoint: string, now: number): void {
    const trouble = this.#troubles.get(endpoint);
    if (trouble === undefined || trouble.until > now) return;
    trouble.trial = true;
    trouble.until = now + asideFor(trouble.failures);
  }

  /** It could not be reached, or broke off. What was sent to it before it was set aside and fails now tells nothing new. */
  failed(endpoint: string, now: number): void {
    const trouble = this.#troubles.get(endpoint);
    if (trouble !== undefined && trouble.until > now && !trouble.trial) return;
    const failures = (trouble?.failures ?? 0) + 1;
    this.#troubles.set(endpoint, { failures, until: now + asideFor(failures), trial: false });
    for (const [other, { until }] of this.#troubles) {
      if (until + FORGET_MS < now) this.#troubles.delete(other);
    }
  }

  /** It answered, with a failure of its own. */
  erred(endpoint: string, now: number): void {
    const errors = (this.#errors.get(endpoint) ?? 0) + 1;
    this.#errors.set(endpoint, errors);
    if (errors >= ERRORS_IN_A_ROW) this.failed(endpoint, now);
  }

  /** It does what it should. */
  succeeded(endpoint: string): void {
    this.#troubles.delete(endpoint);
    this.#errors.delete(endpoint);
  }

  begin(endpoint: string): void {
    this.#outstanding.set(endpoint, (this.#outstanding.get(endpoint) ?? 0) + 1);
  }

  end(endpoint: string): void {
    const left = (this.#outstanding.get(endpoint) ?? 0) - 1;
    if (left > 0) this.#outstanding.set(endpoint, left);
    else this.#outstanding.delete(endpoint);
  }
}

function asideFor(failures: number): number {
  return Math.min(FIRST_SET_ASIDE_MS * 2 ** (failures - 1), LONGEST_SET_ASIDE_MS);
}
