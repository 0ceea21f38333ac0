import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fdatasync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SampleRecord } from '../../store/ledger.ts';
import { type DecodedLines, decodeLines, encodeLine } from './lines.ts';

/** A segment is closed, and a new one begun, at this size. */
const SEGMENT_BYTES = 1024 * 1024;

/** Room that is kept free for the record of each request that was admitted. */
const ROOM_PER_REQUEST = 16 * 1024;

const SYNC_EVERY_MS = 1_000;

/** A closed segment: it will not grow any more. */
export interface Segment {
  name: string;
  bytes: number;
}

export interface SpoolOptions {
  folder: string;
  /** Bytes that all segments together may take before new requests are refused. */
  maxBytes: number;
}

/**
 * The local, append-only record of what was answered, until it is in the ledger.
 *
 * `append` returns when the operating system has the record: it survives the death of the process at once, and that of the machine after
 * at most a second (segments are synced every second and when they are closed). Segments that a killed predecessor left are moved like
 * those of this process.
 */
export class Spool {
  readonly #folder: string;
  readonly #maxBytes: number;
  #closed: Segment[];
  #current: { name: string; fd: number; bytes: number } | null = null;
  #bytes: number;
  #admitted = 0;
  /** Tells the segments of two writers apart that begin in the same millisecond. */
  readonly #writer = randomBytes(4).toString('hex');
  #sequence = 0;
  #dirty = false;
  #broken = false;
  readonly #sync: NodeJS.Timeout;

  constructor({ folder, maxBytes }: SpoolOptions) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
    mkdirSync(folder, { recursive: true });
    this.#closed = readdirSync(folder)
      .filter((name) => name.endsWith('.jsonl'))
      .sort()
      .map((name) => ({ name, bytes: statSync(join(folder, name)).size }));
    this.#bytes = this.#closed.reduce((sum, segment) => sum + segment.bytes, 0);
    this.#sync = setInterval(() => this.#syncCurrent(), SYNC_EVERY_MS);
    this.#sync.unref();
  }

  /** Bytes that wait to be moved. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes room for the record of one more request.
   * @returns false when the spool or its disk is full: the request must be refused before anything is sent upstream
   */
  admit(): boolean {
    const room = (this.#admitted + 1) * ROOM_PER_REQUEST;
    if (this.#broken || this.#bytes + room > this.#maxBytes || this.#diskHasLess(room)) return false;
    this.#admitted += 1;
    return true;
  }

  /** Does the disk have less left, by its own word? One that says nothing of its size is found out by writing. */
  #diskHasLess(room: number): boolean {
    try {
      const { blocks, bavail, bsize } = statfsSync(this.#folder);
      return blocks > 0 && bavail * bsize < room;
    } catch {
      return true;
    }
  }

  /** Gives the room of an admitted request back, recorded or not. */
  release(): void {
    this.#admitted -= 1;
  }

  /** @throws when the disk does not take it; until a segment can be written again, no request is admitted */
  append(record: SampleRecord): void {
    const line = encodeLine(record);
    try {
      const current = this.#open();
      let written = 0;
      while (written < line.length) written += writeSync(current.fd, line, written);
      current.bytes += line.length;
      this.#bytes += line.length;
      this.#dirty = true;
      if (current.bytes >= SEGMENT_BYTES) this.rotate();
    } catch (error) {
      // Whatever half of the line is there will not check. The next record goes to a segment of its own.
      this.#broken = true;
      this.rotate();
      throw error;
    }
  }

  #open(): { name: string; fd: number; bytes: number } {
    if (this.#current === null) {
      this.#sequence += 1;
      const name = `${String(Date.now()).padStart(14, '0')}-${this.#writer}-${String(this.#sequence).padStart(8, '0')}.jsonl`;
      this.#current = { name, fd: openSync(join(this.#folder, name), 'ax', 0o600), bytes: 0 };
    }
    return this.#current;
  }

  /** After a failed write: takes requests again once the disk has really taken a record's worth; an empty file fits on a full one. */
  async heal(): Promise<void> {
    if (!this.#broken) return;
    const probe = join(this.#folder, 'probe');
    try {
      // Random, so that no file system makes less of it.
      await writeFile(probe, randomBytes(ROOM_PER_REQUEST), { mode: 0o600, flush: true });
      this.#broken = false;
    } catch {
      // Still not; the mover tries again.
    }
    await rm(probe, { force: true }).catch(() => {});
  }

  /** Closes the current segment, so that it can be moved. */
  rotate(): void {
    const current = this.#current;
    if (current === null) return;
    this.#current = null;
    this.#closed.push({ name: current.name, bytes: current.bytes });
    fdatasync(current.fd, () => closeSync(current.fd));
  }

  #syncCurrent(): void {
    if (!this.#dirty || this.#current === null) return;
    this.#dirty = false;
    fdatasync(this.#current.fd, () => {});
  }

  /** Closed segments that wait to be moved, in the order in which to try them: the oldest first, but for those that were deferred. */
  waiting(): readonly Segment[] {
    return this.#closed;
  }

  read(segment: Segment): DecodedLines {
    return decodeLines(readFileSync(join(this.#folder, segment.name)));
  }

  /** Lets all others go before a segment that could not be moved. */
  defer(segment: Segment): void {
    this.#closed = [...this.#closed.filter((other) => other !== segment), segment];
  }

  /** Forgets a segment whose records are all in the ledger. */
  remove(segment: Segment): void {
    unlinkSync(join(this.#folder, segment.name));
    this.#closed = this.#closed.filter((other) => other !== segment);
    this.#bytes -= segment.bytes;
  }

  close(): void {
    clearInterval(this.#sync);
    this.rotate();
  }
}
