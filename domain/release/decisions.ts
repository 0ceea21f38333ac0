import type { ErrorCode } from '../errors.ts';
import type { Stage } from '../words.ts';

/** What people may ask of a running release. */
export type DecisionName = 'approve' | 'reject' | 'pause' | 'resume' | 'abort';

/** What the rule needs to know of the release and of the decision. */
export interface DecisionContext {
  stage: Stage;
  paused: boolean;
  /** Somebody has signed already. */
  signed: boolean;
  /** The release is being stopped: a second abort changes nothing. */
  stopping: boolean;
  requester: string;
  candidate: string | null;
  evidence: string | null;
}

export interface DecisionRequest {
  by: string;
  revision?: string | undefined;
  evidence?: string | undefined;
}

export interface Refusal {
  code: ErrorCode;
  message: string;
  field?: string;
  remedy: string;
}

const refuse = (message: string, remedy: string, field?: string): Refusal => ({
  code: 'DECISION_REFUSED',
  message,
  remedy,
  ...(field === undefined ? {} : { field }),
});

/**
 * Whether the release takes the decision now: null, or why not. The one rule for updates, signals and the API (invariant 7).
 * Synchronous and pure, so that an update's validator can call it before anything reaches history.
 */
export function refusalOf(
  name: DecisionName,
  request: DecisionRequest,
  release: DecisionContext,
): Refusal | null {
  if (typeof request?.by !== 'string' || request.by.trim() === '') {
    return {
      code: 'INPUT_INVALID',
      message: `${name} does not say who decides`,
      field: 'by',
      remedy: 'Give {"by": "name"}',
    };
  }
  // Aborting twice is aborting once, also when the first abort is through.
  const ended = release.stage === 'done' || (release.stage === 'rolled-back' && name !== 'abort');
  if (ended) return refuse(`the release has ended: it is ${release.stage}`, 'Start a new release');
  if (name === 'abort') return null;
  if (release.stopping || release.stage === 'rolling-back') {
    return refuse('the release is rolling back', 'Wait until it has ended');
  }
  switch (name) {
    case 'pause':
      return release.paused ? refuse('the release is paused already', 'slipway release resume') : null;
    case 'resume':
      return release.paused ? null : refuse('the release is not paused', 'slipway release pause');
    case 'reject':
      return release.stage === 'sign-off'
        ? null
        : refuse(
            `nothing is to be signed in stage ${release.stage}`,
            'To stop the release now: slipway release abort',
          );
    case 'approve':
      return approvalRefusal(request, release);
  }
}

function approvalRefusal(request: DecisionRequest, release: DecisionContext): Refusal | null {
  if (release.stage !== 'sign-off') {
    return refuse(
      `nothing is to be signed in stage ${release.stage}`,
      'Wait for the stage sign-off: slipway release watch',
    );
  }
  if (release.signed) return refuse('the release is signed off already', 'Nothing more is needed');
  if (request.by === release.requester) {
    return {
      code: 'SIGN_OFF_BY_REQUESTER',
      message: `${request.by} asked for this release and cannot sign it off`,
      field: 'by',
      remedy: 'Ask another approver',
    };
  }
  for (const [field, wanted] of [
    ['revision', release.candidate],
    ['evidence', release.evidence],
  ] as const) {
    if (request[field] !== wanted) {
      return {
        code: 'SIGN_OFF_STALE',
        message: `the sign-off names the ${field} ${request[field] ?? '(none)'}, the release stands at ${wanted}`,
        field,
        remedy: 'Read the evidence again and sign what it says now: slipway release explain',
      };
    }
  }
  return null;
}
