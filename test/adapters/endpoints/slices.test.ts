import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type EndpointSlice, endpointsOfSlices, servingOf } from '../../../adapters/endpoints/slices.ts';

type Endpoint = NonNullable<EndpointSlice['endpoints']>[number];

const sliceOf = (endpoints: Endpoint[] | undefined, more: Partial<EndpointSlice> = {}): EndpointSlice => ({
  metadata: { name: 'slice', labels: { 'slipway.dev/serving': '0123456789ab' } },
  addressType: 'IPv4',
  ports: [
    { name: 'metrics', port: 9090 },
    { name: 'http', port: 8000, protocol: 'TCP' },
  ],
  endpoints: endpoints as Endpoint[],
  ...more,
});

const endpoint = (address: string, conditions?: Endpoint['conditions']): Endpoint => ({
  addresses: [address],
  ...(conditions === undefined ? {} : { conditions }),
});

const ready = { ready: true, serving: true, terminating: false };
const notReady = { ready: false, serving: false, terminating: false };
const leaving = { ready: false, serving: true, terminating: true };
const gone = { ready: false, serving: false, terminating: true };

describe('the endpoints of slices', () => {
  const cases: [name: string, slices: EndpointSlice[], expected: string[]][] = [
    ['are none without slices', [], []],
    ['are none of a slice without endpoints, which the API leaves out', [sliceOf(undefined)], []],
    [
      'are those that are ready',
      [sliceOf([endpoint('10.0.0.1', ready), endpoint('10.0.0.2', notReady)])],
      ['http://10.0.0.1:8000'],
    ],
    [
      'are ready when no condition says otherwise',
      [sliceOf([endpoint('10.0.0.1'), endpoint('10.0.0.2', {})])],
      ['http://10.0.0.1:8000', 'http://10.0.0.2:8000'],
    ],
    [
      'are not those that are going',
      [sliceOf([endpoint('10.0.0.1', ready), endpoint('10.0.0.2', leaving)])],
      ['http://10.0.0.1:8000'],
    ],
    [
      'are not those that are going even if they are called ready, as with publishNotReadyAddresses',
      [sliceOf([endpoint('10.0.0.1', ready), endpoint('10.0.0.2', { ready: true, terminating: true })])],
      ['http://10.0.0.1:8000'],
    ],
    [
      'are those that are going and still serve when there is no other',
      [sliceOf([endpoint('10.0.0.1', notReady), endpoint('10.0.0.2', leaving), endpoint('10.0.0.3', gone)])],
      ['http://10.0.0.2:8000'],
    ],
    [
      'are merged and sorted over slices, each once',
      [
        sliceOf([endpoint('10.0.0.2', ready), endpoint('10.0.0.3', ready)]),
        sliceOf([endpoint('10.0.0.1', ready), endpoint('10.0.0.2', ready)]),
      ],
      ['http://10.0.0.1:8000', 'http://10.0.0.2:8000', 'http://10.0.0.3:8000'],
    ],
    [
      'have brackets around IPv6',
      [sliceOf([endpoint('fd00::1', ready)], { addressType: 'IPv6' })],
      ['http://[fd00::1]:8000'],
    ],
    [
      'have the port of their slice',
      [sliceOf([endpoint('10.0.0.1', ready)], { ports: [{ name: 'http', port: 9000 }] })],
      ['http://10.0.0.1:9000'],
    ],
    [
      'are none without a port of that name',
      [sliceOf([endpoint('10.0.0.1', ready)], { ports: [{ name: '', port: 8000 }] })],
      [],
    ],
    ['are none without a port at all', [sliceOf([endpoint('10.0.0.1', ready)], { ports: [] })], []],
  ];
  for (const [name, slices, expected] of cases) {
    it(name, () => assert.deepEqual(endpointsOfSlices(slices), expected));
  }

  const conditions = fc.record(
    {
      ready: fc.boolean(),
      serving: fc.boolean(),
      terminating: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  const slices = fc.array(
    fc.array(fc.record({ address: fc.integer({ min: 1, max: 9 }).map((n) => `10.0.0.${n}`), conditions }), {
      maxLength: 6,
    }),
    { maxLength: 4 },
  );

  it('do not depend on the order of slices, nor on how endpoints are spread over them', () => {
    fc.assert(
      fc.property(slices, fc.infiniteStream(fc.nat()), (given, random) => {
        const built = given.map((list) => sliceOf(list.map((one) => endpoint(one.address, one.conditions))));
        const expected = endpointsOfSlices(built);
        assert.deepEqual(endpointsOfSlices(built.toReversed()), expected);
        const respread: Endpoint[][] = [[], [], []];
        for (const one of built.flatMap((slice) => slice.endpoints ?? [])) {
          respread[(random.next().value ?? 0) % 3]?.push(one);
        }
        assert.deepEqual(endpointsOfSlices(respread.map((list) => sliceOf(list))), expected);
        assert.deepEqual(expected, [...new Set(expected)].sort());
      }),
    );
  });

  it('never hold one that is neither ready nor serves, and hold every one that is ready and stays', () => {
    fc.assert(
      fc.property(slices, (given) => {
        const all = given.flat();
        const found = endpointsOfSlices(
          given.map((list) => sliceOf(list.map((one) => endpoint(one.address, one.conditions)))),
        );
        const urls = (list: typeof all) => list.map(({ address }) => `http://${address}:8000`);
        const staying = all.filter(
          (one) => one.conditions.ready !== false && one.conditions.terminating !== true,
        );
        for (const url of urls(staying)) assert.ok(found.includes(url));
        if (staying.length > 0) assert.deepEqual(found, [...new Set(urls(staying))].sort());
        const dead = all.filter((one) => one.conditions.ready === false && one.conditions.serving === false);
        const alive = all.filter((one) => !dead.includes(one));
        for (const url of urls(dead)) if (!urls(alive).includes(url)) assert.ok(!found.includes(url));
      }),
    );
  });
});

describe('the serving of a slice', () => {
  it('is what its Service was labelled with', () => {
    assert.equal(servingOf(sliceOf([])), '0123456789ab');
    assert.equal(servingOf({ ...sliceOf([]), metadata: { name: 'x' } }), undefined);
  });
});
