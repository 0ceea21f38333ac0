import type { Move, Step } from '../../activities/contract.ts';
import { createReleaseActivities } from '../../activities/releases.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import type { ServingAdapter } from '../../adapters/serving/adapter.ts';
import { parseGoldenSet } from '../../domain/evaluation/golden.ts';
import { parseGuardrailsContent } from '../../domain/guardrails/guardrails.ts';
import { defaultPolicy, type Policy } from '../../domain/policy/policy.ts';
import { parsePromptFile } from '../../domain/prompt/parse.ts';
import type { ReleasePlan, ReleaseSpec } from '../../domain/release/spec.ts';
import { type RuntimeSpec, servingName } from '../../domain/serving/serving.ts';
import type { Database } from '../../store/database.ts';
import { pushGoldenSet } from '../../store/golden-sets.ts';
import { pushGuardrails } from '../../store/guardrails.ts';
import { pushPrompt } from '../../store/prompts.ts';
import { saveSpec } from '../../store/releases.ts';
import { findServing } from '../../store/servings.ts';
import { ASKED_AT, asAttempt, watched } from './activity.ts';
import { silentLog } from './log.ts';
import { exampleModel, exampleRuntime } from './servings.ts';

export interface ReleaseOptions {
  application: string;
  /** System text of the prompt: a different text is a different prompt version. */
  says?: string;
  runtime?: RuntimeSpec;
  policy?: Partial<Policy>;
  spec?: Partial<ReleaseSpec>;
}

export const stepOf = (release: string, sequence = 1): Step => ({
  progress: { release, sequence, stage: 'preflight', phase: 'Progressing', reason: null, story: [] },
});

/** For tests without servings: each has at once what is asked of it. */
export const alwaysReady = (db: Database): ServingAdapter => ({
  apply: async () => {},
  observe: async (digest) => ({
    digest,
    name: servingName(digest),
    state: 'ready',
    ready: 1_000,
    wanted: 1_000,
    endpoints: (await findServing(db, digest))?.endpoints ?? [],
    message: 'ready',
    gpus: 0,
    since: null,
  }),
  remove: async () => {},
  changed: async () => {},
  check: async () => [],
  list: async () => [],
});

/** Registers releases and moves their traffic with the release's own activities, without a workflow. */
export function releasesOn(db: Database, adapter = alwaysReady(db)) {
  const { registerRelease, endRelease } = createReleaseActivities({ db, log: silentLog });
  const { moveTraffic } = createTrafficActivities({ db, adapter, log: silentLog });
  let number = 0;
  let phase = 0;

  async function register(options: ReleaseOptions): Promise<ReleasePlan> {
    number += 1;
    const { application, says = `Be kind ${number}.`, runtime = exampleRuntime() } = options;
    const createdBy = 'ada';
    const text = `---\nname: ${application}\nsystem: ${says}\n---\n{{input}}`;
    const prompt = await pushPrompt(db, {
      name: application,
      content: parsePromptFile(text).content,
      createdBy,
    });
    const golden = parseGoldenSet('- {vars: {input: "1 + 1?"}, assert: [{type: contains, value: "2"}]}');
    await pushGoldenSet(db, { name: application, content: golden.content, createdBy });
    const guardrails = parseGuardrailsContent({ input: [{ type: 'first' }] });
    await pushGuardrails(db, { name: application, content: guardrails, createdBy });
    const evaluation = { ...defaultPolicy.evaluation, goldenSet: `${application}@1` };
    const spec = await saveSpec(db, {
      application,
      prompt: `${prompt.name}@${prompt.version}`,
      model: exampleModel,
      runtime,
      guardrails: `${application}@1`,
      policy: { ...defaultPolicy, evaluation, ...options.policy },
      ...options.spec,
    });
    const release = `${application}-${number}`;
    const input = { application, prompt: prompt.name, requester: 'ada', spec };
    return asAttempt(() => registerRelease({ ...stepOf(release), input, workflowId: release }));
  }

  async function move(release: string, to: Move['to'], weight: number): Promise<void> {
    phase += 1;
    const canarySince = to === 'canary' ? ASKED_AT : null;
    await watched(() => moveTraffic({ ...stepOf(release), move: { to, weight, phase, canarySince } }));
  }

  async function end(release: string, outcome: 'promoted' | 'rolled-back'): Promise<void> {
    await asAttempt(() => endRelease({ ...stepOf(release, 1_000), outcome }));
  }

  /** A first release, promoted at once, its serving provided if told how: what serves when the next one begins. */
  async function established(
    options: ReleaseOptions,
    provide: (release: string, serving: string) => Promise<void> = async () => {},
  ): Promise<ReleasePlan> {
    const plan = await register(options);
    await provide(plan.release, plan.candidateServing);
    await move(plan.release, 'promoted', 0);
    await end(plan.release, 'promoted');
    return plan;
  }

  return { register, move, end, established };
}
