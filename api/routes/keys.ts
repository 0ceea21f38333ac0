import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { SlipwayError } from '../../domain/errors.ts';
import { hashKey, keyId, listKeys, newKey, revokeKey, saveApiKey, saveTenantKey } from '../../store/keys.ts';
import { admins } from '../access.ts';
import type { ApiContext } from '../context.ts';

const role = z.enum(['engineer', 'approver', 'auditor', 'admin']);
const name = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .describe(
    'Who holds the key. Two keys with one name are one person: the requester of a release cannot sign it off',
  );

const keyRequest = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('control'), name, role }),
  z.strictObject({ kind: z.literal('tenant'), tenant: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/) }),
]);

const keySummary = z.strictObject({
  id: z.string(),
  kind: z.enum(['control', 'tenant']),
  name: z.string().describe('Holder of a control-plane key; tenant of a gateway key'),
  role: role.nullable(),
  createdAt: z.date(),
  revokedAt: z.date().nullable(),
});

/** Keys of the control plane and of the gateway's tenants. A key is shown once, when it is made. */
export const keyRoutes =
  ({ database }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.post(
      '/v1/keys',
      {
        config: { access: admins },
        schema: {
          summary: 'Make a key',
          body: keyRequest,
          response: { 201: z.strictObject({ id: z.string(), key: z.string().describe('Shown this once') }) },
        },
      },
      async ({ body }, reply) => {
        const key = newKey();
        if (body.kind === 'control') await saveApiKey(database, key, body);
        else await saveTenantKey(database, key, body.tenant);
        return reply.code(201).send({ id: keyId(hashKey(key)), key });
      },
    );

    app.get(
      '/v1/keys',
      {
        config: { access: admins },
        schema: {
          summary: 'List keys, without what lets one in',
          response: { 200: z.strictObject({ keys: z.array(keySummary) }) },
        },
      },
      async () => ({ keys: await listKeys(database) }),
    );

    app.delete(
      '/v1/keys/:id',
      {
        config: { access: admins },
        schema: {
          summary: 'Revoke a key, at once',
          params: z.strictObject({ id: z.string().regex(/^[0-9a-f]{12}$/) }),
          response: { 204: z.undefined().describe('Revoked') },
        },
      },
      async ({ params }, reply) => {
        if (!(await revokeKey(database, params.id))) {
          throw new SlipwayError('NOT_FOUND', `there is no key ${params.id} that could be revoked`, {
            field: 'id',
            value: params.id,
            remedy: 'GET /v1/keys lists the keys',
          });
        }
        return reply.code(204).send(undefined);
      },
    );
  };
