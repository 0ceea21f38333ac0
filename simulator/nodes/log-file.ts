import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The end of a log: its last lines, and not more than so many bytes of it. Throws when there is no such file. */
export function logTail(file: string, lines: number, bytes: number): string {
  const descriptor = openSync(file, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(Math.min(size, bytes));
    readSync(descriptor, buffer, 0, buffer.length, size - buffer.length);
    const all = buffer.toString('utf8').split('\n');
    const ended = all.at(-1) === '' ? all.slice(0, -1) : all;
    if (lines === 0 || ended.length === 0) return '';
    return `${ended.slice(-lines).join('\n')}${all.at(-1) === '' ? '\n' : ''}`;
  } finally {
    closeSync(descriptor);
  }
}
