import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { gpuHours } from '../../domain/serving/reaping.ts';
import { lastReaperRun, listReaped, listUnneeded, type UnneededServing } from '../../store/reaping.ts';
import { readers } from '../access.ts';
import type { ApiContext } from '../context.ts';

const unneededServing = z.strictObject({
  serving: z.string().describe('Digest'),
  name: z.string().describe('Of its objects, wherever it runs'),
  known: z.boolean().describe('False: the store does not know what it is'),
  application: z.string().nullable().describe('Who first asked for it'),
  release: z.string().nullable(),
  gpus: z.number().int(),
  since: z.date().describe('When a run of the reaper first saw that nobody needs it'),
  seenAt: z.date().describe('When it last saw so'),
  gpuHours: z.number().describe('Wasted: GPUs × hours without need'),
});

/** What the reaper found. */
export const reapingRoutes =
  ({ database }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/v1/reaper',
      {
        config: { access: readers },
        schema: {
          summary: 'Servings that no route and no active release needs, and what they waste',
          querystring: z.strictObject({
            limit: z.coerce.number().int().min(1).max(1000).default(20).describe('Of those that are over'),
          }),
          response: {
            200: z.strictObject({
              lastRun: z
                .strictObject({
                  at: z.date(),
                  dryRun: z.boolean().describe('It reported and removed nothing'),
                  graceMs: z.number().describe('Without need for so long, a serving may be removed'),
                })
                .nullable()
                .describe('null: it has never run'),
              unneeded: z.array(
                unneededServing.extend({ dueAt: z.date().nullable().describe('When its grace is over') }),
              ),
              over: z
                .array(
                  unneededServing.extend({
                    endedAt: z.date(),
                    ending: z.enum(['removed', 'needed', 'gone']),
                  }),
                )
                .describe('What was unneeded and is so no more, the latest first'),
            }),
          },
        },
      },
      async ({ query }) => {
        const [run, unneeded, over] = await Promise.all([
          lastReaperRun(database),
          listUnneeded(database),
          listReaped(database, query.limit),
        ]);
        return {
          lastRun: run && { at: run.at, dryRun: run.dryRun, graceMs: run.grace },
          unneeded: unneeded.map((row) => ({
            ...shown(row, row.seenAt),
            dueAt: run && new Date(row.since.getTime() + run.grace),
          })),
          over: over.flatMap((row) =>
            row.endedAt === null || row.ending === null
              ? []
              : [{ ...shown(row, row.endedAt), endedAt: row.endedAt, ending: row.ending }],
          ),
        };
      },
    );
  };

/** Hours are counted to what the reaper has seen itself, by its own clock. */
function shown({ endedAt: _e, ending: _n, ...row }: UnneededServing, until: Date) {
  return { ...row, gpuHours: gpuHours(row.gpus, row.since.getTime(), until.getTime()) };
}
