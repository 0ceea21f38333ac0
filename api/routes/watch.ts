import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { errorForLog } from '../../domain/error-for-log.ts';
import { readers } from '../access.ts';
import type { ApiContext } from '../context.ts';
import { sourcesOf } from '../releases/read.ts';
import { type WatchEvent, watchRelease } from '../releases/watch.ts';
import { releaseParams } from '../schemas.ts';

/** Proxies close a connection on which nothing moves. */
const HEARTBEAT_MS = 15_000;

/** A release as server-sent events. */
export const watchRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const closing = new AbortController();
    app.addHook('preClose', async () => closing.abort());

    app.get(
      '/v1/releases/:id/watch',
      {
        config: { access: readers },
        schema: {
          summary: 'Follow a release',
          description: [
            'Server-sent events until the release has ended: `story` (a line of the story; its id resumes), `release` (as GET',
            '/v1/releases/{id}), `pending` (what the release waits for), `end` (the release, ended). Comments keep the connection alive.',
          ].join(' '),
          params: releaseParams,
          headers: z.looseObject({
            'last-event-id': z
              .string()
              .regex(/^\d{1,9}$/)
              .optional()
              .describe('Story lines seen so far'),
          }),
          response: {
            200: { description: 'Events', content: { 'text/event-stream': { schema: z.string() } } },
          },
        },
      },
      async (request, reply) => {
        const { id } = request.params;
        await sourcesOf(context, id); // a release that is not there is an error and no stream
        const gone = new AbortController();
        reply.raw.on('close', () => gone.abort());
        const signal = AbortSignal.any([gone.signal, closing.signal]);
        reply.hijack();
        const { raw } = reply;
        raw.writeHead(200, {
          'content-type': 'text/event-stream',
          'cache-control': 'no-cache',
          // Kept alive, it would hold up the end of a process that has told everything.
          connection: 'close',
          'x-accel-buffering': 'no',
        });
        const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT_MS);
        try {
          const told = Number(request.headers['last-event-id'] ?? 0);
          for await (const event of watchRelease(context, id, told, signal)) raw.write(textOf(event));
        } catch (error) {
          // The watcher reconnects and resumes; what is wrong is in the log, and answers its next request.
          request.log.warn({ release: id, ...errorForLog(error) }, 'watch ended early');
        } finally {
          clearInterval(heartbeat);
          raw.end();
        }
      },
    );
  };

function textOf(event: WatchEvent): string {
  const id = 'id' in event ? `id: ${event.id}\n` : '';
  return `event: ${event.event}\n${id}data: ${JSON.stringify(event.data)}\n\n`;
}
