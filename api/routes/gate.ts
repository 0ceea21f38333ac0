import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { SlipwayError } from '../../domain/errors.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { draftPolicy } from '../../domain/policy/parse.ts';
import { policyInputSchema } from '../../domain/policy/schema.ts';
import { applicationName } from '../../domain/release/parse.ts';
import { planWords, verdictWords } from '../../domain/release/verdict-words.ts';
import { findPlan, listLooks, listVerdicts } from '../../store/evidence.ts';
import { readBaseline } from '../../store/gate-baseline.ts';
import { verifyEvidence } from '../../store/gate-verification.ts';
import { getRelease, lastSpec, loadSpec } from '../../store/releases.ts';
import { readers } from '../access.ts';
import type { ApiContext } from '../context.ts';
import { releaseParams } from '../schemas.ts';

const decision = z.enum(['promote', 'rollback', 'continue', 'invalid']);
const asRecorded = z.unknown().describe('As the gate recorded it: domain/gate/types.ts');

const plan = z.strictObject({ digest: z.string(), summary: z.string(), plan: asRecorded });
const verdict = z.strictObject({
  horizon: z.number().int(),
  digest: z.string().describe('What a sign-off names'),
  watermark: z.number().int().describe('The last batch of the ledger that the verdict saw'),
  judgedAt: z.date(),
  decision,
  summary: z.string(),
  verdict: asRecorded,
});
const evidence = z.strictObject({
  release: z.string(),
  plan: plan.nullable(),
  canarySince: z.date().nullable(),
  weights: z
    .array(z.number())
    .describe("Share of users on the canary: the canary's, then each step of the promotion"),
  verdicts: z.array(verdict),
});
const look = z.strictObject({ kind: z.enum(['guards', 'gate']), at: z.date(), look: asRecorded });

const tally = z.strictObject({ kept: z.number().int(), recomputed: z.number().int() });
const verification = z.strictObject({
  release: z.string(),
  plan: z.string().describe('Digest of the plan'),
  verdicts: z.array(verdict.omit({ judgedAt: true, summary: true, verdict: true })),
  looks: z.strictObject({ guards: tally, gate: tally }),
  reason: z.string().nullable().describe('Why the release ended'),
  stop: z
    .strictObject({
      at: z.date(),
      reason: z.string(),
      from: z.enum(['samples', 'measurements', 'silence']).describe('What the reason was recomputed from'),
      watermark: z.number().int().nullable(),
      digest: z.string().describe('Of the look'),
    })
    .nullable()
    .describe('The look that gave the reason; null: it was none'),
});

/** What a release was judged by. */
export const gateRoutes =
  ({ database }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    /** One verification at a time: each reads a release's samples again and again, which takes what gateways and releases need. */
    let before: Promise<unknown> = Promise.resolve();
    const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
      const result = before.then(work);
      before = result.catch(() => {});
      return result;
    };

    app.get(
      '/v1/releases/:id/evidence',
      {
        config: { access: readers },
        schema: {
          summary: 'The plan of the gate and its verdicts',
          params: releaseParams,
          response: { 200: evidence },
        },
      },
      async ({ params }) => {
        const { id, spec, canarySince } = await getRelease(database, params.id);
        const [{ policy }, stored, verdicts] = await Promise.all([
          loadSpec(database, spec),
          findPlan(database, id),
          listVerdicts(database, id),
        ]);
        return {
          release: id,
          plan: stored && { ...stored, summary: planWords(stored.plan) },
          canarySince,
          weights: [policy.canary.weight, ...policy.promotion.steps],
          verdicts: verdicts.map(({ horizon, digest, watermark, judgedAt, verdict }) => ({
            horizon,
            digest,
            watermark,
            judgedAt,
            decision: verdict.decision,
            summary: stored === null ? verdict.decision : verdictWords(stored.plan, verdict),
            verdict,
          })),
        };
      },
    );

    app.get(
      '/v1/releases/:id/looks',
      {
        config: { access: readers },
        schema: {
          summary: 'Every look of the guards and of the gate, the oldest first',
          params: releaseParams,
          querystring: z.strictObject({
            kind: z.enum(['guards', 'gate']).optional(),
            after: z.string().optional().describe('`next` of the page before'),
            limit: z.coerce.number().int().min(1).max(5000).default(500),
          }),
          response: { 200: z.strictObject({ looks: z.array(look), next: z.string().nullable() }) },
        },
      },
      async ({ params, query }) => {
        const { id } = await getRelease(database, params.id);
        return listLooks(database, id, query);
      },
    );

    app.get(
      '/v1/releases/:id/verification',
      {
        config: { access: readers },
        schema: {
          summary: 'Recompute what the release was decided by, byte for byte',
          description:
            'Every verdict and every look that saw harm, from the raw samples up to its watermark; every look of the guards, from the ' +
            'measurements that it was read from. EVIDENCE_MISMATCH names the first difference.',
          params: releaseParams,
          querystring: z.strictObject({
            looks: z.coerce
              .number()
              .int()
              .min(0)
              .max(100)
              .default(0)
              .describe(
                'So many looks of the ledger that saw no harm as well, spread evenly; each reads all samples',
              ),
          }),
          response: { 200: verification },
        },
      },
      async ({ params, query }, reply) => {
        const gone = new AbortController();
        reply.raw.on('close', () =>
          gone.abort(new SlipwayError('REQUEST_INVALID', 'whoever asked has not waited for the answer')),
        );
        return inTurn(async () => {
          gone.signal.throwIfAborted();
          return verifyEvidence(database, params.id, query.looks, gone.signal);
        });
      },
    );

    app.post(
      '/v1/gate/plan',
      {
        config: { access: readers },
        schema: {
          summary:
            "How long a policy's gate would take on an application's traffic, and the smallest harm it sees",
          description: 'Changes nothing: a release makes its own plan just before its canary begins.',
          body: z.strictObject({ application: applicationName, policy: policyInputSchema }),
          response: { 200: z.strictObject({ summary: z.string(), plan: asRecorded }) },
        },
      },
      async ({ body }) => {
        const { gate, canary } = draftPolicy(body.policy, 'policy.');
        const subject = { ...gate, weight: canary.weight };
        const { application } = body;
        // Nobody's traffic would else be taken for no traffic.
        if ((await lastSpec(database, application)) === null) {
          throw new SlipwayError('APPLICATION_NOT_FOUND', `${application} has had no release`, {
            field: 'application',
            value: application,
            remedy:
              'Name an application of `slipway release list`; without --from-ledger a plan knows no traffic',
          });
        }
        const baseline = await readBaseline(database, {
          application,
          gate: subject,
          now: Date.now(),
        });
        const made = planGate(subject, baseline);
        return { summary: planWords(made), plan: made };
      },
    );
  };
