import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { SlipwayError } from '../../domain/errors.ts';
import { renderServing } from '../../domain/kubernetes/render.ts';
import { defaultClusterSettings } from '../../domain/kubernetes/settings.ts';
import { draftPolicy } from '../../domain/policy/parse.ts';
import { checkFlags, releaseRequestSchema } from '../../domain/release/parse.ts';
import {
  type ScalingPolicy,
  servingDigest,
  servingName,
  type WantedServing,
} from '../../domain/serving/serving.ts';
import { hints } from '../../domain/validation.ts';
import { getRevision, getRevisionByPrefix } from '../../store/revisions.ts';
import { findRoute } from '../../store/routes.ts';
import { getServing } from '../../store/servings.ts';
import { readers } from '../access.ts';
import type { ApiContext } from '../context.ts';

const revisionDigest = z
  .string()
  .regex(/^(sha256:)?[0-9a-f]{12,64}$/, 'is not a digest')
  .describe('Digest of a revision; its first 12 hex digits are enough');
hints.add(revisionDigest, { remedy: 'Give sha256: and 64 hex digits, or at least the first 12 of them' });

const manifests = z.strictObject({
  serving: z.string().describe('Digest of the serving'),
  name: z.string().describe('Name of its objects'),
  settings: z
    .enum(['cluster', 'default'])
    .describe("Rendered with the cluster's settings, or with the default ones because the API has none"),
  notes: z.array(z.string()).describe('What a reader should know, a line each'),
  objects: z.array(
    z.looseObject({
      apiVersion: z.string(),
      kind: z.string(),
      metadata: z.strictObject({
        name: z.string(),
        namespace: z.string(),
        labels: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.string()).optional(),
      }),
    }),
  ),
});
z.globalRegistry.add(manifests, { id: 'Manifests' });

const draft = releaseRequestSchema.pick({ application: true, model: true, runtime: true, policy: true });

/** What runs on Kubernetes for a revision, for people who review it. */
export const revisionRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/v1/revisions/:digest/manifests',
      {
        config: { access: readers },
        schema: {
          summary: "The Kubernetes objects of a revision's serving",
          params: z.strictObject({ digest: revisionDigest }),
          response: { 200: manifests },
        },
      },
      async ({ params }) => {
        const prefix = params.digest.replace(/^(sha256:)?/, 'sha256:');
        const revision = await getRevisionByPrefix(context.database, prefix);
        const serving = await getServing(context.database, revision.serving);
        return rendered(serving, context, [`Serving ${serving.digest} of revision ${revision.digest}.`]);
      },
    );

    app.post(
      '/v1/manifests',
      {
        config: { access: readers },
        schema: {
          summary: 'The Kubernetes objects that a release would bring up',
          description: "What it leaves out is the application's stable revision's. Nothing is stored.",
          body: draft,
          response: { 200: manifests },
        },
      },
      async ({ body }) => {
        const policy = draftPolicy(body.policy ?? {}, 'policy.').serving;
        const serving = await wantedBy(context, body, policy.scaling);
        const own = 'The release will have this serving for itself, under a digest and a name of its own.';
        return rendered(serving, context, [
          `Serving ${serving.digest} of no release yet.`,
          ...(policy.dedicated ? [own] : []),
        ]);
      },
    );
  };

/** KEDA is taken to be there when the settings tell it where Prometheus is; the cluster itself is not asked. */
function rendered(
  serving: WantedServing,
  { cluster }: ApiContext,
  notes: string[],
): z.output<typeof manifests> {
  const settings = cluster ?? defaultClusterSettings;
  return {
    serving: serving.digest,
    name: servingName(serving.digest),
    notes: [
      ...notes,
      ...(cluster === null
        ? ["Rendered with Slipway's default settings: the API was started without SLIPWAY_CLUSTER_FILE."]
        : []),
    ],
    settings: cluster === null ? 'default' : 'cluster',
    objects: renderServing(serving, settings, { keda: settings.autoscaling.prometheusUrl !== null }),
  };
}

async function wantedBy(
  { database }: ApiContext,
  request: z.output<typeof draft>,
  scaling: ScalingPolicy,
): Promise<WantedServing> {
  const route = await findRoute(database, request.application);
  const stable = route === null ? null : await getRevision(database, route.stable);
  const model = request.model ?? stable?.model;
  const runtime = request.runtime ?? stable?.runtime;
  if (model === undefined || runtime === undefined) {
    const field = model === undefined ? 'model' : 'runtime';
    throw new SlipwayError(
      'INPUT_INVALID',
      `${request.application} has no stable revision to take its ${field} from`,
      {
        field,
        remedy: `Add ${field} to the release`,
      },
    );
  }
  checkFlags(runtime);
  const digest = servingDigest(model, runtime);
  return { digest, model, runtime, dedicatedTo: null, replicas: runtime.replicas, scaling, origin: null };
}
