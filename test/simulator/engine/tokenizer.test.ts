import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { countTokens, pieceOf, tokenId, tokenise } from '../../../simulator/engine/tokenizer.ts';

describe('tokenizer', () => {
  it('loses nothing and splits no character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const pieces = tokenise(text);
        assert.equal(pieces.join(''), text);
        assert.ok(pieces.every((piece) => piece.isWellFormed()));
        assert.equal(countTokens(text), pieces.length);
      }),
    );
  });

  it('counts English as a model roughly does: four letters a token', () => {
    const text = 'An order can be cancelled free of charge within 2 hours after it was placed.';
    assert.ok(Math.abs(countTokens(text) - 17) <= 3);
    assert.ok(countTokens('internationalisation') > 1);
    assert.equal(countTokens(''), 0);
  });

  it('finds the piece of every token id that it gave', () => {
    const pieces = tokenise('Unused items can be returned within 30 days.');
    assert.deepEqual(pieces.map(tokenId).map(pieceOf), pieces);
  });
});
