import { errorForLog } from '../domain/error-for-log.ts';
import { SlipwayError } from '../domain/errors.ts';
import type { Database } from '../store/database.ts';
import { attachScores, type Score, saveFeedback } from '../store/ledger.ts';
import type { Metrics } from './metrics.ts';

const LONGEST_COMMENT = 4_000;
/** What request ids are: UUIDs of version 7, whose time says where in the ledger their sample is. */
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export interface FeedbackParts {
  database: Database;
  metrics: Metrics;
  logger: { warn: (fields: object, message: string) => void };
}

export interface Accepted {
  request_id: string;
  /** `known`: an earlier word on the request stays. */
  status: 'accepted' | 'known';
}

/**
 * Takes what a user said of an answer: `{request_id, score | thumb, comment?}`. The request is named by its x-request-id or the id of its
 * completion.
 * @throws SlipwayError REQUEST_INVALID, DEPENDENCY_UNAVAILABLE
 */
export async function giveFeedback(parts: FeedbackParts, tenant: string, body: unknown): Promise<Accepted> {
  const given = objectOf(body);
  const request = requestOf(given.request_id);
  const score = given.thumb === undefined ? scoreOf(given.score) : thumbOf(given.thumb);
  const { comment } = given;
  if (comment !== undefined && comment !== null && typeof comment !== 'string') {
    throw invalid('comment', 'a comment must be a text');
  }
  const text = comment?.replaceAll('\0', '').slice(0, LONGEST_COMMENT) ?? null;
  return storing(parts, async () => {
    const first = await saveFeedback(parts.database, { request, tenant, score, comment: text });
    await attach(parts, { request, evaluator: 'feedback', score, tenant });
    return { request_id: request, status: first ? 'accepted' : 'known' };
  });
}

/** Begins the names of the tenants' own evaluators. */
const OWN = 'own-';

/**
 * Takes the score of a tenant's own evaluator: `{request_id, evaluator, score}`, 0 (worst) to 1 (best).
 * @throws SlipwayError REQUEST_INVALID, INPUT_INVALID, DEPENDENCY_UNAVAILABLE
 */
export async function giveScore(parts: FeedbackParts, tenant: string, body: unknown): Promise<Accepted> {
  const given = objectOf(body);
  const request = requestOf(given.request_id);
  const score = scoreOf(given.score);
  const { evaluator } = given;
  if (typeof evaluator !== 'string') throw invalid('evaluator', 'evaluator must name who scored');
  if (!evaluator.startsWith(OWN)) {
    throw invalid(
      'evaluator',
      `a tenant's evaluator is named ${OWN}…, so that nobody scores in the name of the online evaluator`,
      `Send it as ${OWN}${evaluator}; the gate's metric is then quality:${OWN}${evaluator}`,
    );
  }
  return storing(parts, async () => {
    await attach(parts, { request, evaluator, score, tenant });
    return { request_id: request, status: 'accepted' };
  });
}

async function attach({ database, metrics }: FeedbackParts, score: Score): Promise<void> {
  for (const attached of await attachScores(database, [score])) metrics.scored(attached);
}

async function storing<T>({ logger }: FeedbackParts, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    logger.warn(errorForLog(error), 'a score could not be stored');
    throw new SlipwayError('DEPENDENCY_UNAVAILABLE', 'the ledger does not take scores now', {
      remedy: 'Send it again in a moment: a score that is sent twice counts once',
    });
  }
}

function objectOf(body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw invalid('body', 'the body must be a JSON object');
  }
  return body as Record<string, unknown>;
}

function requestOf(value: unknown): string {
  const id = typeof value === 'string' ? value.replace(/^chatcmpl-/, '') : '';
  if (!uuid.test(id)) {
    throw invalid(
      'request_id',
      'request_id must name a request',
      'Send the x-request-id of the answer, or its id',
    );
  }
  return id.toLowerCase();
}

function scoreOf(value: unknown): number {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
    throw invalid('score', 'score must be a number from 0 (worst) to 1 (best)');
  }
  return value;
}

function thumbOf(value: unknown): number {
  if (value !== 'up' && value !== 'down') throw invalid('thumb', 'thumb must be up or down');
  return value === 'up' ? 1 : 0;
}

function invalid(field: string, message: string, remedy?: string): SlipwayError {
  return new SlipwayError('REQUEST_INVALID', message, { field, remedy });
}
