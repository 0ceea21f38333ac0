import { Counter, Histogram, type Registry } from 'prom-client';

/** Long enough that the last of a series was scraped, and that no guard looks back to it. */
const KEPT_MS = 3_600_000;

/** Where traffic can go now: endpoints by revision, as labels name it. */
export type InUse = ReadonlyMap<string, ReadonlySet<string>>;

/** What a series is about; its endpoint is empty where it has none. */
interface Subject {
  revision: string;
  endpoint: string;
}

/** Drops the series of revisions and endpoints that went out of use: in weeks of rollouts they would only ever become more. */
export class UnusedSeries {
  readonly #registry: Registry;
  readonly #since = new Map<string, number>();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** @returns whether a subject's series were dropped now */
  async drop(inUse: InUse, now: number): Promise<(subject: Subject) => boolean> {
    const dropped = new Set<string>();
    const seen = new Set<string>();
    for (const metric of this.#registry.getMetricsAsArray()) {
      if (!(metric instanceof Counter || metric instanceof Histogram)) continue;
      for (const { labels } of (await metric.get()).values) {
        const subject = subjectOf(labels);
        if (subject === null || isUsed(subject, inUse)) continue;
        const key = keyOf(subject);
        seen.add(key);
        const since = this.#since.get(key) ?? now;
        this.#since.set(key, since);
        if (now - since < KEPT_MS) continue;
        dropped.add(key);
        // A histogram's buckets are one series to prom-client.
        const { le: _, ...own } = labels;
        metric.remove(own);
      }
    }
    for (const key of this.#since.keys()) {
      if (!seen.has(key) || dropped.has(key)) this.#since.delete(key);
    }
    return (subject) => dropped.has(keyOf(subject));
  }
}

/** null: of no revision, as what was refused before it had an arm. */
function subjectOf({ revision, endpoint }: Partial<Record<string, string | number>>): Subject | null {
  return revision === undefined || revision === ''
    ? null
    : { revision: String(revision), endpoint: String(endpoint ?? '') };
}

function isUsed({ revision, endpoint }: Subject, inUse: InUse): boolean {
  return endpoint === '' ? inUse.has(revision) : inUse.get(revision)?.has(endpoint) === true;
}

function keyOf({ revision, endpoint }: Subject): string {
  return `${revision} ${endpoint}`;
}
