import { SlipwayError } from '../../domain/errors.ts';

/** The API server's refusal, its `Status` read. */
export class KubernetesError extends Error {
  readonly status: number;
  /** The API's own word, e.g. `AlreadyExists`, `Conflict`, `Expired`, `Forbidden`. */
  readonly reason: string;
  /** Seconds that the server asks callers to wait. */
  readonly retryAfter: number | null;

  constructor(status: number, reason: string, message: string, retryAfter: number | null = null) {
    super(message);
    this.name = 'KubernetesError';
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

/** Reads an answer that is no success; a proxy's page instead of a `Status` is told as it stands, shortened. */
export function errorOf(status: number, body: string, retryAfterHeader?: string): KubernetesError {
  const read = parseStatus(body);
  const seconds = read?.retryAfter ?? Number(retryAfterHeader ?? Number.NaN);
  return new KubernetesError(
    status,
    read?.reason ?? '',
    read?.message ?? `HTTP ${status}: ${body.slice(0, 200).trim()}`,
    Number.isFinite(seconds) ? seconds : null,
  );
}

interface ReadStatus {
  reason: string;
  message: string | undefined;
  retryAfter: number | undefined;
}

function parseStatus(body: string): ReadStatus | null {
  try {
    const { kind, reason, message, details } = JSON.parse(body) as Record<string, unknown>;
    if (kind !== 'Status') return null;
    const { retryAfterSeconds } = (details ?? {}) as Record<string, unknown>;
    return {
      reason: typeof reason === 'string' ? reason : '',
      message: typeof message === 'string' ? message : undefined,
      retryAfter: typeof retryAfterSeconds === 'number' ? retryAfterSeconds : undefined,
    };
  } catch {
    return null;
  }
}

/** Will the same request be taken later? Only such errors become DEPENDENCY_UNAVAILABLE, which activities try again. */
export function isPassing(error: KubernetesError): boolean {
  if (error.status === 409) return error.reason === 'Conflict' && !isOtherObject(error);
  return error.status === 429 || error.status >= 500;
}

/** The object that was meant by its uid is not there any more. */
export function isOtherObject(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 409 && /\buid\b/i.test(error.message);
}

/**
 * As people are told: what the API server forbids is FORBIDDEN with verb and resource, an outage DEPENDENCY_UNAVAILABLE, anything else
 * that it refuses SERVING_FAILED in its own words.
 */
export function toldError(error: unknown, what: string): SlipwayError {
  if (error instanceof SlipwayError) return error;
  if (!(error instanceof KubernetesError)) return unavailable(what, reasonOf(error), error);
  if (isPassing(error)) return unavailable(what, error.message, error);
  if (error.status === 401) {
    return new SlipwayError('FORBIDDEN', `Kubernetes does not know who asks: ${what}`, {
      field: 'KUBECONFIG',
      remedy: "Renew the credentials of KUBECONFIG, or the pod's ServiceAccount token",
    });
  }
  if (error.status === 403) return forbidden(error.message, what);
  return new SlipwayError('SERVING_FAILED', `${what}: ${error.message}`, {
    field: 'serving',
    remedy: /^namespaces "[^"]*" not found/.test(error.message)
      ? "Create the namespace, or correct `namespace` in the cluster's settings"
      : "Correct what the API server names: the runtime, the cluster's settings, or an object of the same name",
  });
}

function unavailable(what: string, why: string, cause: unknown): SlipwayError {
  return new SlipwayError(
    'DEPENDENCY_UNAVAILABLE',
    `the Kubernetes API server does not serve: ${what}: ${why}`,
    { field: 'KUBECONFIG', remedy: 'It is tried again by itself; look at the API server if that goes on' },
    { cause },
  );
}

/** A quota's refusal is a 403 too, but no role helps against it. */
export const isQuotaRefusal = (message: string): boolean => /exceeded quota/i.test(message);

/** RBAC's own sentence: `… User "u" cannot create resource "deployments" in API group "apps" in the namespace "n"`. */
const denial =
  /User "([^"]*)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;

function forbidden(message: string, what: string): SlipwayError {
  if (isQuotaRefusal(message)) {
    return new SlipwayError('SERVING_FAILED', `${what}: ${message}`, {
      field: 'serving',
      remedy: 'Raise the ResourceQuota of the namespace, or remove what uses it up',
    });
  }
  const [, user, verb, resource, group, namespace] = denial.exec(message) ?? [];
  if (verb === undefined || resource === undefined) {
    return new SlipwayError('FORBIDDEN', `Kubernetes refuses: ${what}: ${message}`, {
      field: 'KUBECONFIG',
      remedy: 'An admission policy of the cluster refuses it: change the policy, or what it names',
    });
  }
  const named = group ? `${resource}.${group}` : resource;
  const where = namespace === undefined ? 'in the whole cluster' : `in namespace ${namespace}`;
  return new SlipwayError('FORBIDDEN', `${user} may not ${verb} ${named} ${where}`, {
    field: 'KUBECONFIG',
    value: `${verb} ${named}`,
    remedy: `Add the verb ${verb} on ${named} to the role of ${user}`,
  });
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
