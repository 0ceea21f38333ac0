import { crc32 } from 'node:zlib';

/**
 * A line of a segment: eight hex digits of CRC-32 over the JSON, a space, the JSON, a line feed. A line that a crash cut short, or that
 * the disk lost a part of, does not check and is not read.
 */
export function encodeLine(record: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(record));
  return Buffer.concat([Buffer.from(`${checksum(json)} `), json, Buffer.from('\n')]);
}

export interface DecodedLines {
  records: unknown[];
  /** Lines that did not check. */
  torn: number;
}

export function decodeLines(bytes: Buffer): DecodedLines {
  const decoded: DecodedLines = { records: [], torn: 0 };
  for (let start = 0; start < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline;
    const json = bytes.subarray(start + 9, end);
    const whole = newline !== -1 && bytes.toString('latin1', start, start + 9) === `${checksum(json)} `;
    if (whole) decoded.records.push(JSON.parse(json.toString('utf8')));
    else if (end > start) decoded.torn += 1;
    start = end + 1;
  }
  return decoded;
}

function checksum(bytes: Buffer): string {
  return crc32(bytes).toString(16).padStart(8, '0');
}
