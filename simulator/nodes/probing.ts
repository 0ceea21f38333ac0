import { setTimeout as delay } from 'node:timers/promises';
import type { V1Probe } from '@kubernetes/client-node';
import { counted, nothingProbed, type ProbeCount } from './probe-count.ts';
import type { ProbeOutcome } from './probe-once.ts';

export interface ProbeListener {
  /** A single probe failed; the text is a kubelet's. */
  failed(output: string): void;
  /** Enough equal outcomes in a row changed the result. */
  turned(result: 'success' | 'failure'): void;
}

/** Probes from the start of a container until the signal, as the probe's own delays and thresholds say. */
export async function keepProbing(
  probe: V1Probe,
  once: () => Promise<ProbeOutcome>,
  listener: ProbeListener,
  signal: AbortSignal,
): Promise<void> {
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  const thresholds = {
    successThreshold: probe.successThreshold ?? 1,
    failureThreshold: probe.failureThreshold ?? 3,
  };
  let count: ProbeCount = nothingProbed;
  try {
    await delay((probe.initialDelaySeconds ?? 0) * 1000, undefined, { signal });
    for (;;) {
      const begun = performance.now();
      const output = await once().catch((error: Error) => error.message);
      if (signal.aborted) return;
      if (output !== undefined) listener.failed(output);
      const before = count.result;
      count = counted(count, output === undefined, thresholds);
      if (count.result !== before && count.result !== 'unknown') listener.turned(count.result);
      await delay(Math.max(0, periodMs - (performance.now() - begun)), undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
