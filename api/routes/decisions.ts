import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { MOST_CHARACTERS } from '../../domain/release/decisions.ts';
import { digest } from '../../domain/release/parse.ts';
import { approvers, holderOf, operators } from '../access.ts';
import type { ApiContext } from '../context.ts';
import { decide } from '../releases/decide.ts';
import { releaseParams, releaseStatus } from '../schemas.ts';

const reason = z
  .string()
  .max(MOST_CHARACTERS.reason)
  .optional()
  .describe('Kept in the history of the release');
const decision = z.strictObject({ reason });

const others = {
  reject: { access: approvers, summary: 'Refuse to sign off: the release is rolled back' },
  pause: { access: operators, summary: 'Hold the release where it is; guards keep watching' },
  resume: { access: operators, summary: 'Let a paused release go on' },
} as const;

/** What people decide: an update of the workflow, judged before it reaches history. */
export const decisionRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.post(
      '/v1/releases/:id/approve',
      {
        config: { access: approvers },
        schema: {
          summary: 'Sign off what the evidence says',
          description: 'Names what was read: a sign-off for other evidence, or by the requester, is refused.',
          params: releaseParams,
          body: z.strictObject({ revision: digest, evidence: digest, reason }),
          response: { 200: releaseStatus },
        },
      },
      async (request) => {
        const by = holderOf(request).name;
        const status = await decide(context, request.params.id, 'approve', { ...request.body, by });
        request.log.info({ release: request.params.id, decision: 'approve', by }, 'decided');
        return status as NonNullable<typeof status>;
      },
    );

    for (const [name, { access, summary }] of Object.entries(others)) {
      app.post(
        `/v1/releases/:id/${name}`,
        {
          config: { access },
          schema: { summary, params: releaseParams, body: decision, response: { 200: releaseStatus } },
        },
        async (request) => {
          const by = holderOf(request).name;
          const { reason } = request.body;
          const status = await decide(context, request.params.id, name as keyof typeof others, {
            by,
            reason,
          });
          request.log.info({ release: request.params.id, decision: name, by }, 'decided');
          return status as NonNullable<typeof status>;
        },
      );
    }

    app.post(
      '/v1/releases/:id/abort',
      {
        config: { access: operators },
        schema: {
          summary: 'Stop the release in any stage: everybody back on the stable revision',
          description:
            '202: it is recorded and takes effect when a worker takes it: none is there now, or the workflow has ended and a sweep does it.',
          params: releaseParams,
          body: decision,
          response: {
            200: releaseStatus,
            202: z.strictObject({ release: z.string(), recorded: z.literal(true) }),
          },
        },
      },
      async (request, reply) => {
        const by = holderOf(request).name;
        const { id } = request.params;
        const status = await decide(context, id, 'abort', { by, reason: request.body.reason });
        request.log.info({ release: id, decision: 'abort', by, taken: status !== null }, 'decided');
        if (status === null) return reply.code(202).send({ release: id, recorded: true });
        return reply.code(200).send(status);
      },
    );
  };
