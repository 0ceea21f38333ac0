import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { errorForLog } from '../domain/error-for-log.ts';
import { SlipwayError } from '../domain/errors.ts';
import type { Database } from '../store/database.ts';
import { hashKey } from '../store/keys.ts';
import { readTenantKeys } from '../store/tenants.ts';
import type { StateFolder } from './state.ts';

const KEYS_FILE = 'tenant-keys.json';
/** A revoked key lets nobody in after this time. */
const REFRESH_MS = 5_000;
/** An unknown key makes the gateway look again, no more often than this. */
const LOOK_AGAIN_MS = 100;
/** And waits no longer than this for the answer. */
const LONGEST_LOOK_MS = 1_000;

/** The tenants' keys, as hashes, in memory and on disk: neither a request nor a restart needs the database to know who asks. */
export class TenantKeys {
  readonly #database: Database;
  readonly #state: StateFolder;
  readonly #logger: Logger;
  /** null before any were ever seen. */
  #tenants: Map<string, string> | null = null;
  #saved = '';
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | null = null;
  #lookingAgain: Promise<void> | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(database: Database, state: StateFolder, logger: Logger) {
    this.#database = database;
    this.#state = state;
    this.#logger = logger;
  }

  async start(): Promise<void> {
    const saved = await this.#state.load<Record<string, string>>(KEYS_FILE);
    this.#tenants = saved === null ? null : new Map(Object.entries(saved));
    await this.#look();
    this.#timer = setInterval(() => void this.#look(), REFRESH_MS);
  }

  /** @throws SlipwayError UNAUTHENTICATED, DEPENDENCY_UNAVAILABLE */
  async authenticate(authorization: string | undefined): Promise<string> {
    const key = authorization?.match(/^bearer +(\S+)$/i)?.[1];
    if (key !== undefined) {
      const hash = hashKey(key);
      // Searched by its hash, of which nobody can choose the digits: the time that it takes tells nothing about any key.
      const tenant = this.#tenants?.get(hash) ?? (await this.#lookAgain(hash));
      if (tenant !== undefined) return tenant;
      if (this.#tenants === null) {
        throw new SlipwayError('DEPENDENCY_UNAVAILABLE', "the gateway has not seen the tenants' keys yet", {
          remedy: 'Try again in a moment',
        });
      }
    }
    throw new SlipwayError(
      'UNAUTHENTICATED',
      key === undefined ? 'the request has no API key' : 'the API key is unknown or revoked',
      { field: 'authorization', remedy: 'Send a key of your tenant as Authorization: Bearer <key>' },
    );
  }

  async #lookAgain(hash: string): Promise<string | undefined> {
    this.#lookingAgain ??= sleep(Math.max(0, this.#lookedAt + LOOK_AGAIN_MS - performance.now()))
      .then(() => this.#look())
      .finally(() => {
        this.#lookingAgain = null;
      });
    await Promise.race([this.#lookingAgain, sleep(LONGEST_LOOK_MS, undefined, { ref: false })]);
    return this.#tenants?.get(hash);
  }

  #look(): Promise<void> {
    this.#looking ??= this.#read().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #read(): Promise<void> {
    this.#lookedAt = performance.now();
    try {
      const tenants = await readTenantKeys(this.#database);
      this.#tenants = tenants;
      const text = JSON.stringify([...tenants].sort());
      if (text === this.#saved) return;
      await this.#state.save(KEYS_FILE, Object.fromEntries(tenants));
      this.#saved = text;
    } catch (error) {
      this.#logger.warn(errorForLog(error), "the tenants' keys cannot be read now; the last ones are in use");
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
