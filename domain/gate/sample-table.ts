import type { Arm } from '../words.ts';
import type { GateSample } from './collect.ts';
import { NumberColumn } from './columns.ts';

/** Stands for a value that was not measured; no value is kept as −∞. */
const NOT_MEASURED = Number.NEGATIVE_INFINITY;

/** Samples as columns: some 40 bytes each, where an object takes several hundred. */
export class SampleTable {
  readonly #at = NumberColumn.doubles();
  readonly #user = NumberColumn.integers();
  readonly #canary = NumberColumn.bytes();
  readonly #metrics = new Map<string, NumberColumn<Float64Array>>();
  readonly #users: string[] = [];
  readonly #numbers = new Map<string, number>();

  get length(): number {
    return this.#at.length;
  }

  add({ at, user, arm, values }: GateSample): void {
    const row = this.length;
    this.#at.push(at);
    this.#user.push(this.#numberOf(user));
    this.#canary.push(arm === 'canary' ? 1 : 0);
    for (const [metric, value] of Object.entries(values)) {
      const column = this.#columnOf(metric, row);
      if (column.length === row) column.push(value === NOT_MEASURED ? Number.POSITIVE_INFINITY : value);
    }
    for (const column of this.#metrics.values()) if (column.length === row) column.push(NOT_MEASURED);
  }

  /** Rows in the order of their times. */
  inTime(): Uint32Array {
    const at = this.#at.view();
    return Uint32Array.from({ length: at.length }, (_, row) => row).sort(
      (a, b) => (at[a] ?? 0) - (at[b] ?? 0),
    );
  }

  timeOf(row: number): number {
    return this.#at.at(row);
  }

  sample(row: number): GateSample {
    const values: Record<string, number> = {};
    for (const [metric, column] of this.#metrics) {
      const value = column.at(row);
      if (value !== NOT_MEASURED) values[metric] = value;
    }
    const arm: Arm = this.#canary.at(row) === 1 ? 'canary' : 'stable';
    return { at: this.#at.at(row), user: this.#users[this.#user.at(row)] ?? '', arm, values };
  }

  #numberOf(user: string): number {
    const known = this.#numbers.get(user);
    if (known !== undefined) return known;
    this.#numbers.set(user, this.#users.length);
    this.#users.push(user);
    return this.#users.length - 1;
  }

  #columnOf(metric: string, rows: number): NumberColumn<Float64Array> {
    const known = this.#metrics.get(metric);
    if (known !== undefined) return known;
    const column = NumberColumn.doubles();
    for (let row = 0; row < rows; row += 1) column.push(NOT_MEASURED);
    this.#metrics.set(metric, column);
    return column;
  }
}
