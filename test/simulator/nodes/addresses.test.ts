import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dotted, parseRange } from '../../../simulator/nodes/addresses.ts';

describe('address ranges', () => {
  it('leave out the network and the broadcast address', () => {
    const { first, last } = parseRange('10.244.3.77/30');
    assert.deepEqual([dotted(first), dotted(last)], ['10.244.3.77', '10.244.3.78']);
    const large = parseRange('10.244.0.0/16');
    assert.deepEqual([dotted(large.first), dotted(large.last)], ['10.244.0.1', '10.244.255.254']);
    assert.equal(dotted(parseRange('192.168.1.0/24').last), '192.168.1.254');
  });

  it('refuse loopback addresses and what is no range', () => {
    assert.throws(() => parseRange('127.0.0.0/16'), /Kubernetes refuses loopback/);
    for (const range of ['10.244.0.0', '10.244.0.0/31', '10.244.0.0/4', '10.256.0.0/16', 'fd00::/64', '']) {
      assert.throws(() => parseRange(range), { name: 'NodesError' }, range);
    }
  });
});
