/** How long an endpoint that refused a connection is not asked again while others can be. */
const SET_ASIDE_MS = 1_000;

/** Chooses among replicas: the one with the fewest requests outstanding from this gateway. */
export class Endpoints {
  readonly #outstanding = new Map<string, number>();
  readonly #setAsideUntil = new Map<string, number>();
  #turn = 0;

  /** @returns null when there is no endpoint besides those already tried */
  choose(endpoints: readonly string[], tried: readonly string[], now: number): string | null {
    let best: string | null = null;
    let bestRank = Number.POSITIVE_INFINITY;
    this.#turn = (this.#turn + 1) % 0x3fffffff;
    for (let i = 0; i < endpoints.length; i++) {
      // Ties go round, so that an idle gateway does not send everything to the first replica.
      const endpoint = endpoints[(i + this.#turn) % endpoints.length];
      if (endpoint === undefined || tried.includes(endpoint)) continue;
      const aside = (this.#setAsideUntil.get(endpoint) ?? 0) > now;
      const rank = (this.#outstanding.get(endpoint) ?? 0) + (aside ? 1e9 : 0);
      if (rank < bestRank) {
        best = endpoint;
        bestRank = rank;
      }
    }
    return best;
  }

  setAside(endpoint: string, now: number): void {
    this.#setAsideUntil.set(endpoint, now + SET_ASIDE_MS);
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
