import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { parseYaml, validate } from '../validation.ts';
import { checkPolicy } from './check.ts';
import { defaultPolicy, type Policy } from './policy.ts';
import { type PolicyInput, policyInputSchema, policySchema } from './schema.ts';

/** A checked policy that need not name its golden set yet: a release may name it beside the policy. */
export type PolicyDraft = Omit<Policy, 'evaluation'> & {
  evaluation: Omit<Policy['evaluation'], 'goldenSet'> & { goldenSet?: string | undefined };
};

/** `base` with every member that `over` gives; `undefined` gives nothing. */
function merged<T extends object>(base: T, over: { [K in keyof T]?: T[K] | undefined } | undefined): T {
  return { ...base, ...Object.fromEntries(Object.entries(over ?? {}).filter(([, v]) => v !== undefined)) };
}

/**
 * What a file or a request says, over the default policy; lists replace the default's.
 * @throws SlipwayError POLICY_INVALID; `prefix` stands before every field, e.g. `policy.`
 */
export function draftPolicy(input: PolicyInput, prefix = ''): PolicyDraft {
  const draft: PolicyDraft = {
    evaluation: merged<PolicyDraft['evaluation']>(defaultPolicy.evaluation, input.evaluation),
    serving: merged(defaultPolicy.serving, {
      ...input.serving,
      scaling: merged(defaultPolicy.serving.scaling, input.serving?.scaling),
    }),
    canary: merged(defaultPolicy.canary, input.canary),
    gate: merged(defaultPolicy.gate, {
      ...input.gate,
      alpha: merged(defaultPolicy.gate.alpha, input.gate?.alpha),
    }),
    signOff: merged(defaultPolicy.signOff, input.signOff),
    promotion: merged(defaultPolicy.promotion, input.promotion),
    baking: merged(defaultPolicy.baking, input.baking),
  };
  checkPolicy(draft, prefix);
  return draft;
}

/**
 * The draft with its golden set; `goldenSet`, named beside the policy, fills in or agrees.
 * @throws SlipwayError POLICY_INVALID
 */
export function completePolicy(draft: PolicyDraft, goldenSet?: string, prefix = ''): Policy {
  const named = draft.evaluation.goldenSet;
  const chosen = named ?? goldenSet;
  if (chosen === undefined || (goldenSet !== undefined && goldenSet !== chosen)) {
    const field = `${prefix}evaluation.goldenSet`;
    throw new SlipwayError(
      'POLICY_INVALID',
      chosen === undefined ? `${field} is missing` : `${field} differs from the release's ${goldenSet}`,
      {
        field,
        value: named,
        remedy: 'Name the golden set once, as name@n: in the policy, or as goldenSet of the release',
      },
    );
  }
  return { ...draft, evaluation: { ...draft.evaluation, goldenSet: chosen } };
}

/** Reads a policy file in YAML. @throws SlipwayError POLICY_INVALID */
export function parsePolicy(yaml: string): PolicyDraft {
  const value = parseYaml(yaml, 'POLICY_INVALID');
  return draftPolicy(validate(policyInputSchema, value ?? {}, 'POLICY_INVALID'));
}

/** The policy as people write it, durations as `7d`. */
export function policyToJson(policy: Policy): unknown {
  return z.encode(policySchema, policy);
}
