import { stratumId } from '../../domain/gate/strata.ts';
import type { Arm } from '../../domain/words.ts';
import type { Database } from '../../store/database.ts';
import { attachScores, recordBatch, type SampleRecord } from '../../store/ledger.ts';
import { idOf, sampleOf } from './ledger.ts';

export interface CanaryTraffic {
  application: string;
  release: string;
  /** When the canary began, ms since 1970. */
  from: number;
  /** Samples are spread evenly over this time, ms. */
  lasting: number;
  stratum: number;
  /** Users and samples per user, of each arm. */
  users: Record<Arm, number>;
  samplesPerUser: number;
  /** Mean score of each arm; 0.8 unless said. */
  quality?: Partial<Record<Arm, number>>;
  /** Share of failed requests of each arm; 0.01 unless said. */
  errors?: Partial<Record<Arm, number>>;
  seed?: string;
}

/** The samples of a canary with their scores: the same for the same input. Users differ, as real ones do. */
export function canaryTraffic(traffic: CanaryTraffic): { record: SampleRecord; score: number }[] {
  const { application, release, from, lasting, stratum, users, samplesPerUser, seed = release } = traffic;
  const random = randomFrom(seed);
  const rows: { record: SampleRecord; score: number }[] = [];
  for (const arm of ['stable', 'canary'] as const) {
    const quality = traffic.quality?.[arm] ?? 0.8;
    const errors = traffic.errors?.[arm] ?? 0.01;
    for (let user = 0; user < users[arm]; user += 1) {
      const own = 0.1 * (random() - 0.5);
      for (let index = 0; index < samplesPerUser; index += 1) {
        const at =
          from +
          Math.floor(((user * samplesPerUser + index + random()) * lasting) / (users[arm] * samplesPerUser));
        const record = sampleOf({
          id: idOf(`${release} ${seed} ${arm} ${user} ${index}`),
          at,
          application,
          release,
          arm,
          user: `${arm}-${user}`,
          stratum: stratumId({ at, from, length: stratum }),
          failed: random() < errors,
          latency: Math.exp(0.3 * (random() - 0.5)),
          ttft: 0.2 * Math.exp(0.3 * (random() - 0.5)),
          tpot: 0.02 * Math.exp(0.3 * (random() - 0.5)),
          cost: 0.001 * Math.exp(0.3 * (random() - 0.5)),
        });
        rows.push({ record, score: Math.min(1, Math.max(0, quality + own + 0.2 * (random() - 0.5))) });
      }
    }
  }
  return rows;
}

/** Puts them into the ledger as gateways and the evaluator do. */
export async function record(
  db: Database,
  rows: readonly { record: SampleRecord; score: number }[],
): Promise<void> {
  const size = 2_000;
  for (let from = 0; from < rows.length; from += size) {
    const batch = rows.slice(from, from + size);
    await recordBatch(
      db,
      batch.map((row) => row.record),
    );
    await attachScores(
      db,
      batch.map((row) => ({ request: row.record.id, evaluator: 'judge', score: row.score })),
    );
  }
}

/** Small, and the same everywhere: mulberry32 on a text's hash. */
function randomFrom(seed: string): () => number {
  let state = Number.parseInt(idOf(seed).slice(0, 8), 16);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
