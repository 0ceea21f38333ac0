import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { parseGoldenSetContent } from '../../domain/evaluation/golden.ts';
import { parseGuardrailsContent } from '../../domain/guardrails/guardrails.ts';
import { diffPrompts } from '../../domain/prompt/diff.ts';
import { documentName, promptContentSchema } from '../../domain/prompt/parse.ts';
import { hints } from '../../domain/validation.ts';
import type { Database } from '../../store/database.ts';
import type { DocumentListing, DocumentVersion, PushedDocument } from '../../store/documents.ts';
import { getGoldenSet, listGoldenSets, pushGoldenSet } from '../../store/golden-sets.ts';
import { getGuardrails, listGuardrails, pushGuardrails } from '../../store/guardrails.ts';
import { getPrompt, listPrompts, pushPrompt } from '../../store/prompts.ts';
import { engineers, holderOf, readers } from '../access.ts';
import type { ApiContext } from '../context.ts';

const version = { name: z.string(), version: z.number().int(), digest: z.string() };
const pushed = z.strictObject({
  ...version,
  created: z.boolean().describe('False: the same content was there'),
});
const listing = z.strictObject({
  versions: z.array(z.strictObject({ ...version, createdBy: z.string(), createdAt: z.date() })),
});
const byReference = z.strictObject({
  reference: z.string().describe('name@n, or a digest: sha256:…'),
});

interface Kind<C extends z.ZodType> {
  path: string;
  noun: string;
  content: C;
  push(
    db: Database,
    document: { name: string; content: z.output<C>; createdBy: string },
  ): Promise<PushedDocument<unknown>>;
  get(db: Database, reference: string): Promise<DocumentVersion<z.output<C>>>;
  list(db: Database, name?: string): Promise<DocumentListing[]>;
}

/** What can be pushed: immutable, numbered, the same content once. */
function versionRoutes<C extends z.ZodType>(kind: Kind<C>, { database }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      kind.path,
      {
        config: { access: engineers },
        schema: {
          summary: `Push a ${kind.noun}`,
          description: 'The same content again returns the version that it already has.',
          body: z.strictObject({ name: documentName, content: kind.content }),
          response: { 200: pushed, 201: pushed },
        },
      },
      async (request, reply) => {
        const { name, content } = request.body as { name: string; content: z.output<C> };
        const createdBy = holderOf(request).name;
        const { content: _, ...version } = await kind.push(database, { name, content, createdBy });
        request.log.info(
          { reference: `${version.name}@${version.version}`, created: version.created },
          'pushed',
        );
        return reply.code(version.created ? 201 : 200).send(version);
      },
    );

    app.get(
      kind.path,
      {
        config: { access: readers },
        schema: {
          summary: `List versions: names in alphabetical order, each with its newest version first`,
          querystring: z.strictObject({ name: documentName.optional() }),
          response: { 200: listing },
        },
      },
      async ({ query }) => ({ versions: await kind.list(database, query.name) }),
    );

    app.get(
      `${kind.path}/:reference`,
      {
        config: { access: readers },
        schema: {
          summary: `Show a ${kind.noun}`,
          params: byReference,
          response: { 200: z.strictObject({ ...version, content: kind.content as z.ZodType<unknown> }) },
        },
      },
      async ({ params }) => {
        const { name, version, digest, content } = await kind.get(database, params.reference);
        return { name, version, digest, content };
      },
    );
  };
}

hints.add(promptContentSchema, { code: 'PROMPT_INVALID' });

// These are judged by their own parsers, whose errors know the field better than a union could.
const goldenSet = z
  .looseObject({ cases: z.array(z.unknown()) })
  .describe('cases in the test format of promptfoo');
const guardrails = z.looseObject({ input: z.array(z.unknown()), output: z.array(z.unknown()) }).partial();

/** Prompts, golden sets and guardrail configs. */
export const documentRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    await app.register(
      versionRoutes(
        {
          path: '/v1/prompts',
          noun: 'prompt',
          content: promptContentSchema,
          push: pushPrompt,
          get: getPrompt,
          list: listPrompts,
        },
        context,
      ),
    );
    await app.register(
      versionRoutes(
        {
          path: '/v1/golden-sets',
          noun: 'golden set',
          content: goldenSet,
          push: (db, set) => pushGoldenSet(db, { ...set, content: parseGoldenSetContent(set.content) }),
          get: async (db, reference) => {
            const { content, ...version } = await getGoldenSet(db, reference);
            return { ...version, content: { ...content } };
          },
          list: listGoldenSets,
        },
        context,
      ),
    );
    await app.register(
      versionRoutes(
        {
          path: '/v1/guardrails',
          noun: 'guardrail config',
          content: guardrails,
          push: (db, config) =>
            pushGuardrails(db, { ...config, content: parseGuardrailsContent(config.content) }),
          get: async (db, reference) => {
            const { content, ...version } = await getGuardrails(db, reference);
            return { ...version, content: { ...content } };
          },
          list: listGuardrails,
        },
        context,
      ),
    );

    app.get(
      '/v1/prompts/:reference/diff',
      {
        config: { access: readers },
        schema: {
          summary: 'What another version changes, as a unified diff',
          params: byReference,
          querystring: z.strictObject({ to: z.string().describe('The other version: name@n, or a digest') }),
          response: { 200: z.strictObject({ diff: z.string().describe('Empty: they say the same') }) },
        },
      },
      async ({ params, query }) => {
        const [before, after] = await Promise.all([
          getPrompt(context.database, params.reference),
          getPrompt(context.database, query.to),
        ]);
        return { diff: diffPrompts(before, after) };
      },
    );
  };
