const LF = 0x0a;

/** An upstream that sends an event without end is not buffered for ever. */
const LARGEST_EVENT = 8 * 1024 * 1024;

/**
 * Cuts a stream of bytes into server-sent events. Bytes are decoded only when an event is complete, so a character that is split between
 * two reads, at any byte, comes out whole.
 */
export class EventSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the data of each event that is complete now @throws RangeError when an event is larger than 8 MiB */
  push(bytes: Buffer): string[] {
    const buffer = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const end = endOfEvents(buffer);
    this.#rest = buffer.subarray(end);
    if (this.#rest.length > LARGEST_EVENT) throw new RangeError('an event of the stream is too large');
    if (end === 0) return [];
    return buffer
      .toString('utf8', 0, end)
      .split(/\r?\n\r?\n/)
      .flatMap(dataOf);
  }
}

/** Index after the last blank line, 0 without one. */
function endOfEvents(buffer: Buffer): number {
  for (let at = buffer.lastIndexOf(LF); at > 0; at = buffer.lastIndexOf(LF, at - 1)) {
    if (buffer[at - 1] === LF || (buffer[at - 1] === 0x0d && buffer[at - 2] === LF)) return at + 1;
  }
  return 0;
}

/** The data of one event; nothing for comments and events without data. */
function dataOf(event: string): string[] {
  if (event.startsWith('data: ') && !event.includes('\n')) return [event.slice(6)];
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
  if (lines.length === 0) return [];
  return [lines.map((line) => line.slice(line[5] === ' ' ? 6 : 5)).join('\n')];
}
