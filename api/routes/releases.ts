import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { applicationName, releaseRequestSchema, releaseSpecOf } from '../../domain/release/parse.ts';
import { listReleases } from '../../store/releases.ts';
import { engineers, holderOf, readers } from '../access.ts';
import type { ApiContext } from '../context.ts';
import { mirroredStory, sourcesOf, storyOf, viewOf } from '../releases/read.ts';
import { startRelease } from '../releases/start.ts';
import { releaseParams, releaseSummary, releaseView, storyLine } from '../schemas.ts';

const started = z.strictObject({
  release: z.string(),
  application: z.string(),
  created: z.boolean().describe('False: the same request was made before'),
  registered: z.boolean().describe('False: no worker has taken it yet'),
});

/** Starting and reading releases. */
export const releaseRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.post(
      '/v1/releases',
      {
        config: { access: engineers },
        schema: {
          summary: 'Start a release',
          description:
            'With an idempotency-key, repeating the request finds the release that it started. 202: no worker has taken it yet.',
          headers: z.looseObject({ 'idempotency-key': z.string().min(1).max(200).optional() }),
          body: releaseRequestSchema,
          response: { 200: started, 201: started, 202: started },
        },
      },
      async (request, reply) => {
        const key = request.headers['idempotency-key'];
        const result = await startRelease(context, releaseSpecOf(request.body), holderOf(request).name, key);
        request.log.info(result, 'release started');
        return reply.code(!result.registered ? 202 : result.created ? 201 : 200).send(result);
      },
    );

    app.get(
      '/v1/releases',
      {
        config: { access: readers },
        schema: {
          summary: 'List releases, the newest first',
          querystring: z.strictObject({
            application: applicationName.optional(),
            limit: z.coerce.number().int().min(1).max(1000).default(100),
          }),
          response: { 200: z.strictObject({ releases: z.array(releaseSummary) }) },
        },
      },
      async ({ query }) => {
        const rows = await listReleases(context.database, query);
        return {
          releases: rows.map((row) => ({
            release: row.id,
            application: row.application,
            requester: row.requester,
            stage: row.stage,
            phase: row.phase,
            reason: row.reason,
            candidate: row.candidate,
            stable: row.stable,
            startedAt: row.createdAt,
            endedAt: row.endedAt,
          })),
        };
      },
    );

    app.get(
      '/v1/releases/:id',
      {
        config: { access: readers },
        schema: {
          summary: 'What a release is doing now',
          params: releaseParams,
          response: { 200: releaseView },
        },
      },
      async ({ params }) => viewOf(context, await sourcesOf(context, params.id)),
    );

    app.get(
      '/v1/releases/:id/explain',
      {
        config: { access: readers },
        schema: {
          summary: 'The story of a release: what happened and why',
          params: releaseParams,
          response: { 200: z.strictObject({ release: releaseView, story: z.array(storyLine) }) },
        },
      },
      async ({ params }) => {
        const sources = await sourcesOf(context, params.id);
        const release = await viewOf(context, sources);
        const story = await storyOf(context, sources);
        return { release, story: story ?? (await mirroredStory(context, params.id)) };
      },
    );
  };
