import { influenceSums } from '../domain/gate/in-memory.ts';
import { addedSums, influenceRequests } from '../domain/gate/influence.ts';
import type { GateFigures, GateMetric, InfluenceSums } from '../domain/gate/types.ts';
import { type Database, inTransaction, type Transaction } from './database.ts';
import { Collected, MergedRows, type Place } from './gate-collected.ts';
import { type GateWindow, totalsOf } from './gate-totals.ts';
import { type JudgedColumns, metricsOf } from './ledger/records.ts';
import { experimentOf } from './ledger.ts';

/** Rows that are fetched at once. */
const CHUNK = 10_000;

/** Samples that are held in memory at once, with all those of their last user. */
const SAMPLES_AT_ONCE = 50_000;

type SampleRow = JudgedColumns & Place;
type ScoreRow = Place & { evaluator: string; score: number };

/**
 * The figures once more, from the raw samples and scores up to a watermark, by the other implementation (domain/gate/in-memory.ts): what an
 * auditor compares a verdict with. Reads every sample, twice, user by user, in bounded memory; a judgement does not.
 * @param atOnce about how many samples are held in memory
 */
export async function figuresFromSamples(
  db: Database,
  window: GateWindow,
  metrics: readonly GateMetric[],
  watermark: number,
  atOnce = SAMPLES_AT_ONCE,
): Promise<GateFigures> {
  const experiment = await experimentOf(db, window.release);
  return inTransaction(db, async (tx) => {
    await tx.query('set transaction isolation level repeatable read, read only');
    const parts = () => partsOf(tx, { experiment, watermark, metrics, atOnce });
    const rows = new MergedRows();
    for await (const part of parts()) rows.add(part.rows(window));
    const totals = totalsOf(window, rows.merged());
    const requests = influenceRequests(metrics, totals);
    let sums: InfluenceSums[] = [];
    for await (const part of parts()) {
      const data = part.data(window);
      const more = requests.map((request) => influenceSums(request, data));
      sums = sums.length === 0 ? more : addedSums(sums, more);
    }
    return { totals, sums };
  });
}

interface Source {
  experiment: number | null;
  watermark: number;
  metrics: readonly GateMetric[];
  atOnce: number;
}

/** The samples and scores of some users after the other; none of them is in two parts. At least one part, if need be of nobody. */
async function* partsOf(
  tx: Transaction,
  { experiment, watermark, metrics, atOnce }: Source,
): AsyncGenerator<Collected> {
  const scores = new Cursor<ScoreRow>(
    tx,
    'scores_by_user',
    `select s.user_id as user, s.arm, s.stratum, c.evaluator, c.score from scores c join samples s on s.id = c.request_id
      where s.experiment = $1 and c.batch <= $2 and s.arm is not null order by s.user_id`,
    [experiment, watermark],
  );
  const samples = new Cursor<SampleRow>(
    tx,
    'samples_by_user',
    `select user_id as user, arm, stratum, failed, interrupted, violations, latency, ttft, tpot, cost from samples
      where experiment = $1 and batch <= $2 and arm is not null order by user_id`,
    [experiment, watermark],
  );
  let part = new Collected(metrics);
  let held = 0;
  let user = -1;
  const takeScores = async (upTo: number) => {
    for (let score = await scores.peek(); score && score.user <= upTo; score = await scores.peek()) {
      part.addValues(score, [[`quality:${score.evaluator}`, score.score]]);
      scores.take();
    }
  };
  for (let row = await samples.peek(); row; row = await samples.peek()) {
    if (row.user !== user) {
      await takeScores(user);
      if (held >= atOnce) {
        yield part;
        part = new Collected(metrics);
        held = 0;
      }
      user = row.user;
    }
    part.addRequest(row);
    part.addValues(row, metricsOf(row));
    held += 1;
    samples.take();
  }
  await takeScores(Number.POSITIVE_INFINITY);
  await Promise.all([samples.close(), scores.close()]);
  yield part;
}

/** The rows of a statement, one after the other. */
class Cursor<R extends object> {
  readonly #tx: Transaction;
  readonly #name: string;
  readonly #sql: string;
  readonly #values: unknown[];
  #rows: R[] = [];
  #next = 0;
  #state: 'new' | 'open' | 'spent' = 'new';

  constructor(tx: Transaction, name: string, sql: string, values: unknown[]) {
    this.#tx = tx;
    this.#name = name;
    this.#sql = sql;
    this.#values = values;
  }

  /** The row that is next; undefined at the end. A promise only when rows must be fetched: awaiting each would cost more than the row. */
  peek(): R | undefined | Promise<R | undefined> {
    const row = this.#rows[this.#next];
    return row !== undefined || this.#state === 'spent' ? row : this.#fetch();
  }

  take(): void {
    this.#next += 1;
  }

  async close(): Promise<void> {
    if (this.#state !== 'new') await this.#tx.query(`close ${this.#name}`);
  }

  async #fetch(): Promise<R | undefined> {
    if (this.#state === 'new')
      await this.#tx.query(`declare ${this.#name} no scroll cursor for ${this.#sql}`, this.#values);
    const { rows } = await this.#tx.query<R>(`fetch ${CHUNK} from ${this.#name}`);
    this.#rows = rows;
    this.#next = 0;
    this.#state = rows.length < CHUNK ? 'spent' : 'open';
    return rows[0];
  }
}
