import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { errorForLog } from '../../domain/error-for-log.ts';
import type { Database } from '../../store/database.ts';
import { openDaysAhead, recordBatch, type SampleRecord } from '../../store/ledger.ts';
import { encodeLine } from './lines.ts';
import type { Segment, Spool } from './spool.ts';

/** Time between two moves while all is well: how far the ledger lags behind the traffic. */
const EVERY_MS = 500;
const LONGEST_BACKOFF_MS = 5_000;
/** Records in one transaction. */
const BATCH = 2_000;
const HOUR_MS = 3_600_000;

export interface MoverOptions {
  spool: Spool;
  database: Database;
  /** File that keeps records which the ledger refuses, for people. */
  refusedFile: string;
  logger: Logger;
  onMoved: (result: { inserted: number; replayed: number; refused: number; torn: number }) => void;
}

/**
 * Moves closed segments into the ledger, each in whole transactions, and removes a segment only after its last one has committed. A crash in
 * between moves a segment again, which changes nothing: the ledger takes every request id once.
 */
export class Mover {
  readonly #options: MoverOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;
  #daysOpenedAt = 0;
  #backoff = EVERY_MS;

  constructor(options: MoverOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#openDays();
        await this.moveAll();
        this.#backoff = EVERY_MS;
      } catch (error) {
        this.#backoff = Math.min(this.#backoff * 2, LONGEST_BACKOFF_MS);
        this.#options.logger.warn(
          { ...errorForLog(error), waitingBytes: this.#options.spool.bytes },
          'the ledger does not take records now; the spool keeps them',
        );
      }
      await sleep(this.#backoff, undefined, { signal }).catch(() => {});
    }
  }

  /**
   * Moves everything that the spool holds now. Ends at a segment that cannot be moved, which then goes behind the others: whatever is wrong
   * with it, it does not hold them up.
   * @throws why it cannot
   */
  async moveAll(): Promise<void> {
    const { spool } = this.#options;
    await spool.heal();
    spool.rotate();
    for (const segment of [...spool.waiting()]) {
      try {
        await this.#move(segment);
        this.#backoff = EVERY_MS;
      } catch (error) {
        spool.defer(segment);
        throw error;
      }
    }
  }

  async #openDays(): Promise<void> {
    if (Date.now() - this.#daysOpenedAt < HOUR_MS) return;
    await openDaysAhead(this.#options.database, Date.now());
    this.#daysOpenedAt = Date.now();
  }

  async #move(segment: Segment): Promise<void> {
    const { spool, onMoved, logger } = this.#options;
    const { records, torn } = spool.read(segment);
    if (torn > 0) logger.warn({ segment: segment.name, torn }, 'a segment of the spool has torn lines');
    const result = { inserted: 0, replayed: 0, refused: 0, torn };
    for (let start = 0; start < records.length; start += BATCH) {
      const batch = records.slice(start, start + BATCH) as SampleRecord[];
      const { inserted, refused } = await this.#record(batch);
      result.inserted += inserted;
      result.refused += refused;
      result.replayed += batch.length - inserted - refused;
    }
    spool.remove(segment);
    onMoved(result);
  }

  /** A record that the ledger refuses for what it says must not hold up the others: halves are tried until it stands alone. */
  async #record(records: SampleRecord[]): Promise<{ inserted: number; refused: number }> {
    try {
      const { inserted } = await recordBatch(this.#options.database, records);
      return { inserted, refused: 0 };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const [only] = records;
      if (records.length === 1 && only !== undefined) {
        appendFileSync(this.#options.refusedFile, encodeLine(only), { mode: 0o600 });
        this.#options.logger.error(
          { ...errorForLog(error), request: only.id },
          'the ledger refuses a record; it is kept aside',
        );
        return { inserted: 0, refused: 1 };
      }
      const half = Math.ceil(records.length / 2);
      const first = await this.#record(records.slice(0, half));
      const second = await this.#record(records.slice(half));
      return { inserted: first.inserted + second.inserted, refused: first.refused + second.refused };
    }
  }

  /** Stops, after a last try to move everything; what cannot be moved stays for the next start. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.moveAll().catch((error: unknown) => {
      this.#options.logger.warn(errorForLog(error), 'the spool keeps its records for the next start');
    });
  }
}

/**
 * Is it surely the data that is refused, rather than the moment? By Postgres: SQLSTATE classes 21 to 23, and 54, its limits; or by our own
 * code, whose errors have no code, as that of a time that is none. For any other failure the record's segment waits.
 */
function isRefusal(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  if (typeof code === 'string') return /^(2[123]|54)...$/.test(code);
  return error instanceof RangeError || error instanceof TypeError;
}
