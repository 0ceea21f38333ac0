import { defineSearchAttributeKey } from '@temporalio/common';
import { setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { ReleaseState } from './state.ts';

/** The typed search attributes of temporal.yaml: `temporal workflow list` finds releases by them. */
const keys = {
  application: defineSearchAttributeKey('SlipwayApplication', 'KEYWORD'),
  stage: defineSearchAttributeKey('SlipwayStage', 'KEYWORD'),
  phase: defineSearchAttributeKey('SlipwayPhase', 'KEYWORD'),
  verdict: defineSearchAttributeKey('SlipwayVerdict', 'KEYWORD'),
  revision: defineSearchAttributeKey('SlipwayRevision', 'KEYWORD'),
};

/** Shows the state in the Temporal UI. Search attributes cost an event each time: only what has changed is written. */
export function display(state: ReleaseState, shown: Map<string, string | null>): void {
  const wanted = {
    application: state.application,
    stage: state.stage,
    phase: state.phase,
    verdict: state.verdict,
    revision: state.candidate,
  };
  const changed = (Object.keys(keys) as (keyof typeof keys)[]).filter(
    (name) => (shown.get(name) ?? null) !== wanted[name],
  );
  if (changed.length > 0) {
    upsertSearchAttributes(changed.map((name) => ({ key: keys[name], value: wanted[name] })));
    for (const name of changed) shown.set(name, wanted[name]);
  }
  setCurrentDetails(detailsOf(state));
}

function detailsOf(state: ReleaseState): string {
  const because = state.reason === null ? '' : `: ${state.reason}`;
  return [
    `**${state.stage}** (${state.phase})${because}`,
    `Canary weight: asked ${state.weight.desired}, observed ${state.weight.observed}`,
    ...(state.stage === 'sign-off' ? [signOffHelp(state)] : []),
    '',
    ...state.story.map((line) => `- ${line.at} ${line.text}`),
  ].join('\n');
}

function signOffHelp(state: ReleaseState): string {
  const input = JSON.stringify({ by: 'your name', revision: state.candidate, evidence: state.evidence });
  return `To sign off, send the update or signal \`approve\` with \`${input}\``;
}
