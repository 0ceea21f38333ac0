import assert from 'node:assert/strict';
import { it } from 'node:test';
import { countSetting, portSetting } from '../../domain/settings.ts';

it('reads ports and counts, and takes an empty variable for none', () => {
  assert.deepEqual(
    ['0', '8080', '65535', '', undefined].map((PORT) => portSetting({ PORT }, 'PORT', 1)),
    [0, 8080, 65_535, 1, 1],
  );
  assert.deepEqual(
    ['1', '', undefined].map((COUNT) => countSetting({ COUNT }, 'COUNT')),
    [1, undefined, undefined],
  );
});

it('refuses what is no such number, and names the variable', () => {
  for (const PORT of ['abc', '-1', '65536', '80.5', '0x50', '1e3', ' ']) {
    assert.throws(() => portSetting({ PORT }, 'PORT', 1), {
      code: 'INPUT_INVALID',
      message: 'PORT must be a whole number from 0 to 65535',
      details: { field: 'PORT', value: PORT, remedy: 'Correct it, or leave it out' },
    });
  }
  assert.throws(() => countSetting({ COUNT: '0' }, 'COUNT'), { message: /from 1 on/ });
});
