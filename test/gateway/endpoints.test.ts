import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Endpoints } from '../../gateway/endpoints.ts';

describe('Endpoints', () => {
  it('chooses the one with the fewest requests outstanding', () => {
    const endpoints = new Endpoints();
    endpoints.begin('a');
    endpoints.begin('a');
    endpoints.begin('b');
    assert.equal(endpoints.choose(['a', 'b'], [], 0), 'b');
    endpoints.end('a');
    endpoints.end('a');
    assert.equal(endpoints.choose(['a', 'b'], [], 0), 'a');
  });

  it('goes round among equals, evenly also when others are busy', () => {
    const endpoints = new Endpoints();
    endpoints.begin('busy');
    const counts = new Map<string | null, number>();
    for (let i = 0; i < 300; i++) {
      const chosen = endpoints.choose(['a', 'b', 'busy', 'c'], [], 0);
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
    }
    assert.deepEqual(Object.fromEntries(counts), { a: 100, b: 100, c: 100 });
  });

  it('always chooses one of the least loaded, whatever the order in which requests end', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        // As many begin as end, and for long: else there is rarely a second one at an endpoint.
        fc.array(fc.oneof(fc.constant(null), fc.nat(50)), { maxLength: 200, size: 'max' }),
        (n, steps) => {
          const endpoints = new Endpoints();
          const names = Array.from({ length: n }, (_, i) => `e${i}`);
          const open: string[] = [];
          for (const step of steps) {
            if (step === null) {
              const loads = names.map((name) => open.filter((other) => other === name).length);
              const chosen = endpoints.choose(names, [], 0);
              assert.ok(chosen !== null);
              assert.equal(loads[names.indexOf(chosen)], Math.min(...loads));
              endpoints.begin(chosen);
              open.push(chosen);
            } else if (open.length > 0) {
              const [ended] = open.splice(step % open.length, 1);
              endpoints.end(ended ?? '');
            }
          }
        },
      ),
    );
  });

  it('does not choose what was tried', () => {
    const endpoints = new Endpoints();
    assert.equal(endpoints.choose(['a', 'b'], ['a'], 0), 'b');
    assert.equal(endpoints.choose(['a'], ['a'], 0), null);
    assert.equal(endpoints.choose([], [], 0), null);
  });
});

describe('an endpoint that fails', () => {
  it('is set aside for a second, unless there is no other', () => {
    const endpoints = new Endpoints();
    endpoints.failed('a', 10);
    endpoints.begin('b');
    assert.equal(endpoints.choose(['a', 'b'], [], 1009), 'b');
    assert.equal(endpoints.choose(['a'], [], 500), 'a');
    assert.equal(endpoints.choose(['a', 'b'], [], 1010), 'a');
  });

  it('is tried again by one request before it gets others', () => {
    const endpoints = new Endpoints();
    endpoints.failed('a', 0);
    endpoints.begin('b');
    assert.equal(endpoints.choose(['a', 'b'], [], 1000), 'a');
    assert.equal(endpoints.choose(['a', 'b'], [], 1001), 'b');
    endpoints.succeeded('a');
    assert.equal(endpoints.choose(['a', 'b'], [], 1002), 'a');
  });

  it('is set aside for longer each time that it fails again, up to half a minute, and as at first after it was well', () => {
    const endpoints = new Endpoints();
    const asideFor = (now: number): number => {
      endpoints.begin('b');
      let ms = 0;
      while (endpoints.choose(['a', 'b'], [], now + ms) === 'b') ms += 100;
      return ms;
    };
    let now = 0;
    const times: number[] = [];
    for (let i = 0; i < 7; i++) {
      endpoints.failed('a', now);
      times.push(asideFor(now));
      now += times.at(-1) ?? 0;
    }
    assert.deepEqual(times, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    endpoints.succeeded('a');
    endpoints.failed('a', now);
    assert.equal(asideFor(now), 1000);
  });

  it('counts once for all that it held when it died', () => {
    const endpoints = new Endpoints();
    for (let i = 0; i < 20; i++) endpoints.failed('a', i);
    endpoints.begin('b');
    assert.equal(endpoints.choose(['a', 'b'], [], 1000), 'a');
  });

  it('by answers is set aside at the third in a row', () => {
    const endpoints = new Endpoints();
    const chosen = () => {
      endpoints.begin('b');
      return endpoints.choose(['a', 'b'], [], 0);
    };
    endpoints.erred('a', 0);
    endpoints.erred('a', 0);
    endpoints.succeeded('a');
    endpoints.erred('a', 0);
    endpoints.erred('a', 0);
    assert.equal(chosen(), 'a');
    endpoints.erred('a', 0);
    assert.equal(chosen(), 'b');
  });

  it('is never out for good: while all are set aside they are asked as if none was', () => {
    const endpoints = new Endpoints();
    for (const name of ['a', 'b', 'c']) endpoints.failed(name, 0);
    endpoints.begin('a');
    const chosen = new Set(Array.from({ length: 6 }, () => endpoints.choose(['a', 'b', 'c'], [], 1)));
    assert.deepEqual([...chosen].sort(), ['b', 'c']);
  });
});
