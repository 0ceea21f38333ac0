import assert from 'node:assert/strict';
import { it } from 'node:test';
import { UserTable } from '../../store/gate-users.ts';

/** Three rows a user: in two strata of the stable arm, and in one of the canary. */
const CODES = [0, 2 * 64, 1];

/** What a walk finds of each user and arm: the sum of `n`, of what was added in the second stratum, and how many rows. */
function walked(users: number, expected: number): Map<string, number[]> {
  const table = new UserTable(['n'], ['tail'], expected);
  const count = users * CODES.length;
  const of = (value: (row: number) => number) => Float64Array.from({ length: count }, (_, row) => value(row));
  // All users' first rows, then all users' second ones: a user's rows lie far apart.
  const userOf = (row: number) => 7 * (row % users);
  const codeOf = (row: number) => CODES[Math.floor(row / users)] ?? 0;
  table.take(count, { user: of(userOf), code: of(codeOf), n: of((row) => row) });
  for (let user = 0; user < users; user += 1) {
    table.add(7 * user, 2 * 64, table.at.get('tail') ?? 0, user);
    table.add(7 * user, 2 * 65, table.at.get('tail') ?? 0, 1e6);
  }
  const found = new Map<string, number[]>();
  let own = [0, 0, 0];
  let user = 0;
  table.walk(
    (data, base) => {
      const at = (column: string) => data[base + (table.at.get(column) ?? 0)] ?? 0;
      user = Math.floor((data[base] ?? 0) / 2);
      const added = table.groups[data[base + 1] ?? 0]?.stratum === 64 ? at('tail') : 1e9 * at('tail');
      own = [(own[0] ?? 0) + at('n'), (own[1] ?? 0) + added, (own[2] ?? 0) + 1];
    },
    (canary) => {
      found.set(`${user} ${canary}`, own);
      own = [0, 0, 0];
    },
  );
  return found;
}

for (const [what, expected] of [
  ['more rows than it was told of', 1],
  ['as many as it was told of', 6_000],
  ['many fewer, in many shards', 2_000_000],
] as const) {
  it(`a table of users puts the rows of each together, with ${what}`, () => {
    const users = 2_000;
    const found = walked(users, expected);
    assert.equal(found.size, 2 * users);
    for (let user = 0; user < users; user += 1) {
      assert.deepEqual(found.get(`${7 * user} false`), [user + (users + user), user, 2]);
      assert.deepEqual(found.get(`${7 * user} true`), [2 * users + user, 0, 1]);
    }
  });
}
