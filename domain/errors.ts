/**
 * The catalogue of errors that users see. A code is stable: scripts may match on it. `status` is the HTTP status with which the API
 * and the gateway answer; `title` says what kind of mistake it is, the error's own message says which one.
 */
export const catalogue = {
  INPUT_INVALID: { status: 422, title: 'A field of the input is not valid' },
  POLICY_INVALID: { status: 422, title: 'The policy is not valid' },
  POLICY_CANNOT_SUCCEED: { status: 422, title: 'The policy cannot reach a verdict within its last horizon' },
  PROMPT_INVALID: { status: 422, title: 'The prompt is not valid' },
  PROMPT_NOT_FOUND: { status: 404, title: 'No such prompt version' },
  PROMPT_VARIABLE_UNKNOWN: { status: 422, title: 'The prompt uses a variable that it does not declare' },
  PROMPT_VARIABLE_MISSING: { status: 422, title: 'The request lacks a variable that the prompt needs' },
  GOLDEN_SET_INVALID: { status: 422, title: 'The golden set is not valid' },
  GOLDEN_SET_EMPTY: { status: 422, title: 'The golden set holds no case' },
  GOLDEN_SET_NOT_FOUND: { status: 404, title: 'No such golden set' },
  GUARDRAILS_NOT_FOUND: { status: 404, title: 'No such guardrail config' },
  APPLICATION_NOT_FOUND: { status: 404, title: 'No such application' },
  APPLICATION_HAS_RELEASE: { status: 409, title: 'The application already has an active release' },
  RELEASE_NOT_FOUND: { status: 404, title: 'No such release' },
  RELEASE_KEY_REUSED: { status: 409, title: 'The idempotency key belongs to a different release' },
  RELEASE_CHANGES_NOTHING: { status: 422, title: 'The candidate is the stable revision' },
  PREFLIGHT_FAILED: { status: 422, title: 'The preflight checklist failed' },
  CAPACITY_EXCEEDED: { status: 422, title: 'The KV cache does not fit' },
  EVALUATION_FAILED: { status: 422, title: 'The candidate failed its evaluation' },
  GATE_ROLLBACK: { status: 422, title: 'The gate saw that the candidate is worse' },
  GATE_INVALID: { status: 422, title: 'The canary was no valid comparison' },
  GATE_HORIZONS_SPENT: { status: 422, title: 'The last horizon ended without a verdict to promote' },
  SIGN_OFF_TIMEOUT: { status: 422, title: 'Nobody signed off in time' },
  SERVING_FAILED: { status: 500, title: 'The serving did not become ready' },
  ROUTE_CONFLICT: { status: 409, title: 'Another writer moved the route first' },
  DECISION_REFUSED: { status: 409, title: 'The release does not take this decision now' },
  SIGN_OFF_STALE: { status: 409, title: 'The sign-off is for other evidence' },
  SIGN_OFF_BY_REQUESTER: { status: 403, title: 'The requester cannot sign off their own release' },
  UNAUTHENTICATED: { status: 401, title: 'The API key is missing or unknown' },
  FORBIDDEN: { status: 403, title: 'The API key does not allow this' },
  NOT_FOUND: { status: 404, title: 'No such resource' },
  MODEL_NOT_FOUND: { status: 404, title: 'No such application' },
  TOO_MANY_REQUESTS: { status: 429, title: 'Too many requests at once' },
  REQUEST_INVALID: { status: 400, title: 'The request is not valid' },
  SPOOL_FULL: { status: 503, title: 'The gateway cannot record another request' },
  UPSTREAM_FAILED: { status: 502, title: 'The model endpoint failed' },
  UPSTREAM_TIMEOUT: { status: 504, title: 'The model endpoint did not answer in time' },
  NO_ROUTE: { status: 503, title: 'No endpoint serves this application' },
  TOPOLOGY_INVALID: { status: 422, title: 'temporal.yaml is not valid' },
  SAMPLES_INVALID: { status: 422, title: 'The samples are not valid' },
  EVIDENCE_MISMATCH: { status: 409, title: 'The evidence does not recompute to the recorded verdict' },
  NOT_MEASURABLE: { status: 503, title: 'A measurement could not be made' },
  DEPENDENCY_UNAVAILABLE: { status: 503, title: 'A system that Slipway needs does not answer' },
  INTERNAL: { status: 500, title: 'Slipway failed' },
} as const;

export type ErrorCode = keyof typeof catalogue;

export interface ErrorDetails {
  /** Path of the offending field in the input, e.g. `canary.weight`. */
  field?: string | undefined;
  /** The offending value, as given; never a key or prompt text. */
  value?: unknown;
  /** What to do about it, as a sentence. */
  remedy?: string | undefined;
}

/** An error that a user sees: what is wrong, where, and what to do. */
export class SlipwayError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SlipwayError';
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return catalogue[this.code].status;
  }

  /** The shape in which every surface (API, CLI --json, Temporal failure details) carries the error. */
  toJSON(): { code: ErrorCode; message: string } & ErrorDetails {
    return { code: this.code, message: this.message, ...this.details };
  }
}
