import { setTimeout as delay } from 'node:timers/promises';
import { isQuotaRefusal, KubernetesError } from './errors.ts';
import type { KubernetesRequest } from './http.ts';

type Once = (request: KubernetesRequest) => Promise<string>;

/** How long a server may take until it knows its roles, ms. */
const WAIT_MS = 20_000;
/** A server that hides its readiness from us for so long hides it always, ms. */
const HIDDEN_MS = 5_000;
const PAUSE_MS = 300;

/**
 * An API server that has just been started forbids everything for a moment, until it has read the roles. So a refusal counts only when
 * the server says that it is ready, and then says it again.
 */
export function createReadiness(once: Once) {
  let isHidden = false;

  /** Status of the server's own word; 0: no answer. */
  async function readiness(): Promise<number> {
    try {
      await once({ path: '/readyz', accept: '*/*' });
      return 200;
    } catch (error) {
      return error instanceof KubernetesError ? error.status : 0;
    }
  }

  /** Resolves when the server is ready, or when that cannot be known, or after a while. */
  async function settled(signal?: AbortSignal): Promise<void> {
    const since = performance.now();
    for (;;) {
      const status = isHidden ? 403 : await readiness();
      const waited = performance.now() - since;
      if (status === 200 || isHidden || waited > WAIT_MS) return;
      if (status === 403 && waited > HIDDEN_MS) isHidden = true;
      else await delay(PAUSE_MS, undefined, signal ? { signal } : {});
    }
  }

  /** Sends the request that was refused once more, when the server is ready. */
  async function resend(request: KubernetesRequest): Promise<string> {
    await settled(request.signal);
    return once(request);
  }

  return { settled, resend };
}

/** Refused for want of a role, as a server does that does not know its roles yet. */
export const isDenial = (error: unknown): boolean =>
  error instanceof KubernetesError && error.status === 403 && !isQuotaRefusal(error.message);
