import type { Look } from './types.ts';
import { duration, tidy } from './wording.ts';

/**
 * The intervals of one guard over time as text, one line a look, for terminals:
 * `├──●──┤` interval and estimate, `┊` the limit, `│` no difference; `◄`/`►` run out of the picture; `✗` marks a look that stops the canary.
 */
export function plotGuard(guard: string, looks: readonly Look[], options: { width?: number } = {}): string {
  const width = options.width ?? 60;
  const points = looks.flatMap((look) => {
    const seen = look.guards.find((candidate) => candidate.guard === guard);
    return seen ? [{ elapsed: look.elapsed, seen }] : [];
  });
  const limit = points[0]?.seen.limit;
  if (limit === undefined) return `${guard}: no look yet`;
  const scale = scaleOf(
    points.map(({ seen }) => seen.interval),
    limit,
    width,
  );
  const lines = points.map(({ elapsed, seen }) => {
    const label = duration(elapsed).padStart(9);
    const canvas = background(width, scale(limit), scale(0));
    if (seen.interval === null || seen.estimate === null) {
      return `${label}  ${canvas.join('')}  ${seen.reason?.words ?? ''}`.trimEnd();
    }
    draw(canvas, scale, seen.interval, seen.estimate);
    return `${label}  ${canvas.join('')}${seen.breached ? '  ✗' : ''}`.trimEnd();
  });
  const title = `${guard}: canary − stable, limit ${tidy(limit)}${/\//.test(guard) ? ' (ln of the ratio)' : ''}`;
  const axis = background(width, null, null).map(() => ' ');
  place(axis, scale(limit), '┊');
  place(axis, scale(0), '│');
  return [title, ...lines, `${' '.repeat(11)}${axis.join('')}  ┊ limit  │ no difference`].join('\n');
}

/** Maps a value to a column. Early intervals are far wider than late ones: the picture holds the narrower half of them whole. */
function scaleOf(
  intervals: readonly ([number, number] | null)[],
  limit: number,
  width: number,
): (value: number) => number {
  const drawn = intervals.filter((interval) => interval !== null).sort((a, b) => a[1] - a[0] - (b[1] - b[0]));
  const shown = drawn.slice(0, Math.ceil(drawn.length / 2)).flat();
  const low = Math.min(0, limit, ...shown);
  const high = Math.max(0, limit, ...shown);
  const margin = (high - low) * 0.08;
  return (value) => Math.round(((value - low + margin) / (high - low + 2 * margin)) * (width - 1));
}

function background(width: number, limit: number | null, zero: number | null): string[] {
  const canvas = new Array<string>(width).fill(' ');
  place(canvas, zero, '│');
  place(canvas, limit, '┊');
  return canvas;
}

function place(canvas: string[], column: number | null, mark: string): void {
  if (column !== null && column >= 0 && column < canvas.length) canvas[column] = mark;
}

function draw(
  canvas: string[],
  scale: (value: number) => number,
  interval: [number, number],
  estimate: number,
): void {
  const last = canvas.length - 1;
  const [low, high] = [scale(interval[0]), scale(interval[1])];
  for (let column = Math.max(0, low); column <= Math.min(last, high); column += 1) {
    if (canvas[column] === ' ') canvas[column] = '─';
  }
  place(canvas, low, '├');
  place(canvas, high, '┤');
  if (low < 0) canvas[0] = '◄';
  if (high > last) canvas[last] = '►';
  place(canvas, scale(estimate), '●');
}
