import { createHash } from 'node:crypto';
import type { SampleRecord } from '../../store/ledger.ts';

/** A UUID that stands for a text, so that a test's ids are the same in every run; of version 8, which tells no time. */
export function idOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

/** A good answer of the stable arm; each test says what is different. */
export function sampleOf(given: Partial<SampleRecord> & Pick<SampleRecord, 'id' | 'at'>): SampleRecord {
  return {
    tenant: 'shop',
    application: 'support',
    release: null,
    arm: 'stable',
    user: 'user-1',
    stratum: 0,
    revision: 'sha256:1',
    endpoint: 'http://127.0.0.1:1',
    status: 200,
    reason: null,
    failed: false,
    interrupted: false,
    streamed: false,
    finishReason: 'stop',
    violations: 0,
    latency: 1,
    ttft: null,
    tpot: null,
    cost: null,
    promptTokens: 10,
    completionTokens: 20,
    cachedTokens: null,
    scoring: null,
    ...given,
  };
}
