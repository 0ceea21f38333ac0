import { type GoldenSetContent, goldenSetDigest } from '../domain/evaluation/golden.ts';
import { documentStore } from './documents.ts';

export const {
  push: pushGoldenSet,
  get: getGoldenSet,
  list: listGoldenSets,
} = documentStore<GoldenSetContent>({
  table: 'golden_sets',
  noun: 'golden set',
  field: 'goldenSet',
  notFound: 'GOLDEN_SET_NOT_FOUND',
  invalid: 'GOLDEN_SET_INVALID',
  digestOf: goldenSetDigest,
});
