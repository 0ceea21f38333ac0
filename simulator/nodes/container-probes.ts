import type { V1Container, V1Probe } from '@kubernetes/client-node';
import { probeOnce } from './probe-once.ts';
import { keepProbing } from './probing.ts';

export interface ContainerProbeListener {
  /** A single probe of a kind (`Startup`, `Readiness`, `Liveness`) failed, and why. */
  failed(kind: string, output: string): void;
  /** The startup probe has passed, or there is none. */
  started(): void;
  ready(ready: boolean): void;
  /** The container is to be restarted. */
  dead(kind: 'startup' | 'liveness', probe: V1Probe): void;
}

/**
 * Probes a running container: first by the startup probe, and when that has passed by the other two. Readiness is probed until the
 * container's end (`running`), the others only until it is being stopped (`kept`).
 */
export function probeContainer(
  spec: V1Container,
  podIP: string,
  listener: ContainerProbeListener,
  signals: { running: AbortSignal; kept: AbortSignal },
): void {
  const { startupProbe, readinessProbe, livenessProbe } = spec;
  const keep = (
    kind: string,
    probe: V1Probe,
    signal: AbortSignal,
    turned: (passed: boolean) => void,
  ): void => {
    const failed = (output: string) => listener.failed(kind, output);
    const once = () => probeOnce(probe, spec, podIP);
    void keepProbing(probe, once, { failed, turned: (result) => turned(result === 'success') }, signal);
  };
  const kept = AbortSignal.any([signals.running, signals.kept]);
  const others = (): void => {
    listener.started();
    if (readinessProbe === undefined) listener.ready(true);
    else keep('Readiness', readinessProbe, signals.running, listener.ready);
    if (livenessProbe === undefined) return;
    keep('Liveness', livenessProbe, kept, (passed) => {
      if (!passed) listener.dead('liveness', livenessProbe);
    });
  };
  if (startupProbe === undefined) {
    others();
    return;
  }
  const over = new AbortController();
  keep('Startup', startupProbe, AbortSignal.any([kept, over.signal]), (passed) => {
    over.abort();
    if (passed) others();
    else listener.dead('startup', startupProbe);
  });
}
