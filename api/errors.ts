import { isGrpcServiceError, ServiceError } from '@temporalio/client';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { defectForLog } from '../domain/error-for-log.ts';
import { catalogue, type ErrorCode, SlipwayError } from '../domain/errors.ts';

/** The one shape of every answer that is no success. */
export const errorBody = z.strictObject({
  error: z.strictObject({
    code: z.enum(Object.keys(catalogue) as [ErrorCode, ...ErrorCode[]]).describe('Stable, for scripts'),
    message: z.string().describe('What is wrong, for people'),
    field: z.string().optional().describe('Path of the offending field of the input'),
    value: z.unknown().optional().describe('The offending value, as given'),
    remedy: z.string().optional().describe('What to do about it'),
  }),
});
z.globalRegistry.add(errorBody, { id: 'Error' });

/** Answers what Fastify refuses before it knows a route, e.g. a path that is no text. */
export function answerFrameworkError(
  error: FastifyError,
  _request: FastifyRequest,
  reply: FastifyReply,
): void {
  const known = knownError(error);
  void reply.code(statusOf(error, known)).send({ error: known.toJSON() });
}

/** Answers every failure with a coded error, and logs the ones that are Slipway's own with their cause. */
export function answerErrors(app: FastifyInstance): void {
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?', 1)[0];
    throw new SlipwayError('NOT_FOUND', `there is no ${request.method} ${path}`, {
      remedy: 'GET /openapi.json describes what there is',
    });
  });
  app.setErrorHandler<FastifyError | Error>((error, request, reply) => {
    const known = knownError(error);
    const { code, details } = known;
    if (known.status >= 500) request.log.error({ code, cause: defectForLog(error) }, known.message);
    else request.log.info({ code, field: details.field }, 'refused');
    return reply.code(statusOf(error, known)).send({ error: known.toJSON() });
  });
}

function statusOf(error: Error, known: SlipwayError): number {
  // Fastify's own refusals of a request (too large, wrong media type) keep their HTTP status.
  return known.code === 'REQUEST_INVALID' && 'statusCode' in error ? Number(error.statusCode) : known.status;
}

function knownError(error: FastifyError | Error): SlipwayError {
  if (error instanceof SlipwayError) return error;
  if ('statusCode' in error && typeof error.statusCode === 'number' && error.statusCode < 500) {
    return new SlipwayError('REQUEST_INVALID', error.message, {
      remedy: 'Send a JSON body with content-type application/json, as /openapi.json says',
    });
  }
  const unavailable = unavailableSystem(error);
  if (unavailable !== null) {
    return new SlipwayError('DEPENDENCY_UNAVAILABLE', `${unavailable} does not answer`, {
      remedy: 'Try again; if it lasts, look at its log',
    });
  }
  return new SlipwayError('INTERNAL', 'Slipway failed to answer', { remedy: "Look at the API's log" });
}

/** Errors of a connection, as Node, Postgres (class 08, 57P) and its client report them. */
const connectionCodes = /^(ECONNREFUSED|ECONNRESET|EPIPE|ENOTFOUND|ETIMEDOUT|08...|57P..)$/;

function unavailableSystem(error: Error): string | null {
  if (isGrpcServiceError(error) || error instanceof ServiceError) return 'Temporal';
  const code = 'code' in error ? String(error.code) : '';
  const poolGaveUp = /^(timeout exceeded when trying to connect|Connection terminated)/.test(error.message);
  return connectionCodes.test(code) || poolGaveUp ? 'Postgres' : null;
}
