import type { FastifyInstance, FastifyRequest } from 'fastify';
import { SlipwayError } from '../domain/errors.ts';
import type { Role } from '../domain/words.ts';
import type { Database } from '../store/database.ts';
import { type ApiKey, findApiKey } from '../store/keys.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call the route; every route says it. `public`: without a key. */
    access?: 'public' | readonly Role[];
  }
  interface FastifyRequest {
    /** Holder of the request's key; null on public routes. */
    holder: ApiKey | null;
  }
}

/** Everybody who has a key may read. */
export const readers: readonly Role[] = ['engineer', 'approver', 'auditor', 'admin'];
/** Push prompts, start releases. */
export const engineers: readonly Role[] = ['engineer', 'admin'];
/** Sign off. */
export const approvers: readonly Role[] = ['approver', 'admin'];
/** Pause, resume and abort: whoever sees harm may stop it. */
export const operators: readonly Role[] = ['engineer', 'approver', 'admin'];
export const admins: readonly Role[] = ['admin'];

/** Asks every request for a key whose role the route admits, before anything else of the request is looked at. */
export function guardAccess(app: FastifyInstance, database: Database): void {
  app.decorateRequest('holder', null);
  app.addHook('onRequest', async (request) => {
    if (request.is404) return;
    const access = request.routeOptions.config.access ?? [];
    if (access === 'public') return;
    request.holder = await authenticate(database, request.headers.authorization);
    if (access.includes(request.holder.role)) return;
    throw new SlipwayError('FORBIDDEN', `the role ${request.holder.role} does not allow this`, {
      field: 'authorization',
      remedy: `Use a key with one of the roles: ${access.join(', ')}`,
    });
  });
}

async function authenticate(database: Database, header: string | undefined): Promise<ApiKey> {
  const key = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
  const holder = key === undefined ? null : await findApiKey(database, key);
  if (holder !== null) return holder;
  throw new SlipwayError(
    'UNAUTHENTICATED',
    key === undefined ? 'the request carries no API key' : 'the API key is unknown or revoked',
    {
      field: 'authorization',
      remedy: 'Send Authorization: Bearer KEY; an admin makes keys with POST /v1/keys',
    },
  );
}

/** Holder of the request's key. */
export function holderOf(request: FastifyRequest): ApiKey {
  if (request.holder === null)
    throw new SlipwayError('INTERNAL', 'a route without a key asks for its holder');
  return request.holder;
}
