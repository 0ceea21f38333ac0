import type { TestEvent } from 'node:test/reporters';

/** What Node's runner counted over all files of one run. */
export interface Tally {
  tests: number;
  passed: number;
  failed: number;
  cancelled: number;
  skipped: number;
  todo: number;
}

export const noTests: Tally = { tests: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 };

export function sum(left: Tally, right: Tally): Tally {
  return {
    tests: left.tests + right.tests,
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    cancelled: left.cancelled + right.cancelled,
    skipped: left.skipped + right.skipped,
    todo: left.todo + right.todo,
  };
}

/** A reporter for Node's runner that gives the counts of the whole run as JSON. */
export default async function* tally(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    // Each file has a summary too; the one of the run names none.
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue;
    const { tests, passed, cancelled, skipped, todo } = event.data.counts;
    const failed = tests - passed - cancelled - skipped - todo; // each test is counted as one of these
    yield JSON.stringify({ tests, passed, failed, cancelled, skipped, todo } satisfies Tally);
  }
}
