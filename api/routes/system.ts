import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ApiContext } from '../context.ts';

/** Health and the description of everything else. */
export const systemRoutes =
  ({ database }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/openapi.json',
      {
        config: { access: 'public' },
        schema: {
          summary: 'This document, OpenAPI 3.1',
          response: { 200: z.record(z.string(), z.unknown()) },
        },
      },
      async () => ({ ...app.swagger() }),
    );

    app.get(
      '/healthz',
      {
        config: { access: 'public' },
        schema: {
          summary: 'Does the API answer, and reach its database?',
          response: { 200: z.strictObject({ status: z.literal('ok') }) },
        },
      },
      async () => {
        await database.query('select 1');
        return { status: 'ok' as const };
      },
    );
  };
