import { type GuardrailsContent, guardrailsDigest } from '../domain/guardrails/guardrails.ts';
import { documentStore } from './documents.ts';

export const {
  push: pushGuardrails,
  get: getGuardrails,
  list: listGuardrails,
} = documentStore<GuardrailsContent>({
  table: 'guardrail_configs',
  noun: 'guardrail config',
  field: 'guardrails',
  notFound: 'GUARDRAILS_NOT_FOUND',
  invalid: 'INPUT_INVALID',
  digestOf: guardrailsDigest,
});
