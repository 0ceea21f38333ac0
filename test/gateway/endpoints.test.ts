import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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

  it('goes round among equals', () => {
    const endpoints = new Endpoints();
    const chosen = new Set(Array.from({ length: 6 }, () => endpoints.choose(['a', 'b', 'c'], [], 0)));
    assert.deepEqual([...chosen].sort(), ['a', 'b', 'c']);
  });

  it('sets one aside for a second, unless there is no other', () => {
    const endpoints = new Endpoints();
    endpoints.setAside('a', 10);
    endpoints.begin('b');
    assert.equal(endpoints.choose(['a', 'b'], [], 500), 'b');
    assert.equal(endpoints.choose(['a'], [], 500), 'a');
    assert.equal(endpoints.choose(['a', 'b'], [], 1010), 'a');
  });

  it('does not choose what was tried', () => {
    const endpoints = new Endpoints();
    assert.equal(endpoints.choose(['a', 'b'], ['a'], 0), 'b');
    assert.equal(endpoints.choose(['a'], ['a'], 0), null);
    assert.equal(endpoints.choose([], [], 0), null);
  });
});
