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
  reason?: string | null | undefined;
  revision?: string | undefined;
  evidence?: string | undefined;
}

export interface Refusal {
  code: ErrorCode;
  message: string;
  field?: string;
  remedy: string;
}

/** What people type goes into the story, and with it into the input of every later activity: at most so many characters. */
export const MOST_CHARACTERS = { by: 200, reason: 1_000 } as const;

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
  for (const field of ['by', 'reason'] as const) {
    const text: unknown = request[field] ?? '';
    const most = MOST_CHARACTERS[field];
    if (typeof text === 'string' && text.length <= most) continue;
    return {
      code: 'INPUT_INVALID',
      message: `${field} of ${name} is ${typeof text === 'string' ? `${text.length} characters long` : 'no text'}`,
      field,
      remedy: `Say it in at most ${most} characters`,
    };
  }
  // Aborting twice is aborting once, also when the first abort is through.
  if (release.stage === 'done') {
    return refuse('the release is done: its candidate is the stable revision', 'Start a new release');
  }
  if (name === 'abort') return null;
  if (release.stage === 'rolled-back') return refuse('the release is rolled back', 'Start a new release');
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
  if (release.signed) {
    const remedy = release.paused ? 'Let it go on: slipway release resume' : 'Nothing more is needed';
    return refuse('the release is signed off already', remedy);
  }
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
        message: `the sign-off names the ${field} ${String(request[field] ?? '(none)').slice(0, 100)}, the release stands at ${wanted}`,
        field,
        remedy: 'Read the evidence again and sign what it says now: slipway release explain',
      };
    }
  }
  return null;
}
