import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** Where results go: tables and colours for people on a terminal, JSON for scripts. */
export interface Output {
  readonly json: boolean;
  /** Standard output is a terminal: lines may be rewritten. */
  readonly live: boolean;
  /** Columns of the terminal; null where it is none. */
  readonly width: number | null;
  /** A line for people; nothing with --json. */
  line(text?: string): void;
  /** The result: as JSON with --json, else as `forPeople` writes it. */
  result(value: unknown, forPeople: () => void): void;
  /** One JSON value a line, as it happens; nothing without --json. */
  event(value: unknown): void;
  /** A line that the next one replaces; only on a terminal. */
  passing(text: string): void;
  style(style: Style, text: string): string;
}

export function makeOutput(json: boolean, stream: NodeJS.WriteStream = process.stdout): Output {
  const live = stream.isTTY === true && !json;
  let passing = false;
  const clear = () => {
    if (passing) stream.write('\r\x1b[K');
    passing = false;
  };
  return {
    json,
    live,
    width: live ? (stream.columns ?? 80) : null,
    line(text = '') {
      if (json) return;
      clear();
      stream.write(`${text}\n`);
    },
    result(value, forPeople) {
      clear();
      if (json) stream.write(`${JSON.stringify(value, null, 2)}\n`);
      else forPeople();
    },
    event(value) {
      if (json) stream.write(`${JSON.stringify(value)}\n`);
    },
    passing(text) {
      if (!live) return;
      clear();
      stream.write(text.slice(0, (stream.columns ?? 80) - 1));
      passing = true;
    },
    style: (style, text) => styleText(style, text, { stream, validateStream: true }),
  };
}

/** What is left for the last column of a table that is too wide, at least. */
const NARROWEST = 20;
/** The width of the last column where there is no terminal to fit into. */
const CUT = 80;

/** Columns as wide as their widest cell; a header in capitals. The last column is cut where the lines would be wider than `width`. */
export function table(header: string[], rows: string[][], width = Number.POSITIVE_INFINITY): string[] {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const before = widths.slice(0, -1).reduce((sum, one) => sum + one + 2, 0);
  const room = Math.max(NARROWEST, width - before);
  const line = (cells: string[]) =>
    cells
      .map((cell, column) =>
        (column === header.length - 1 ? cut(cell, room) : cell).padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [line(header), ...rows.map(line)];
}

/** As many characters at most, the last one an ellipsis where some are left out. */
export function cut(text: string, most = CUT): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).trimEnd()}…`;
}

/** `name  value` lines, the names in one column; entries without a value are left out. */
export function facts(entries: [name: string, value: string | null | undefined][]): string[] {
  const present = entries.filter(
    (entry): entry is [string, string] => entry[1] !== null && entry[1] !== undefined,
  );
  const width = Math.max(...present.map(([name]) => name.length));
  return present.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}
