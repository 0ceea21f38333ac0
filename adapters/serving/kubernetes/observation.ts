import { PORT } from '../../../domain/kubernetes/objects.ts';
import { servingName } from '../../../domain/serving/serving.ts';
import {
  type AnyObject,
  type Deployment,
  hasEnded,
  isReady,
  isTerminating,
  type Pod,
  requestOf,
} from '../../kubernetes/objects.ts';
import type { ServingObservation } from '../adapter.ts';
import type { Diagnosis } from './diagnosis.ts';

/** What is left of a serving, or there already. */
export interface Parts {
  deployment: Deployment | null;
  pods: readonly Pod[];
  /** Objects of the other kinds; they count where there is no Deployment. */
  others: readonly AnyObject[];
  /** The extended resources under which this cluster's nodes offer GPUs. */
  gpuResources: readonly string[];
}

/** What the parts say of the serving; the diagnosis, if there is one, says why it is not ready. */
export function observationOf(
  digest: string,
  parts: Parts,
  problem: (Diagnosis & { lasting: boolean }) | null,
): ServingObservation {
  const { deployment, pods, others } = parts;
  const wanted = deployment === null ? 0 : (deployment.spec.replicas ?? 1);
  const answering = pods.filter((pod) => isReady(pod) && pod.status?.podIP !== undefined);
  const seen = {
    digest,
    name: servingName(digest),
    ready: answering.length,
    wanted,
    endpoints: answering.map((pod) => endpointOf(pod.status?.podIP ?? '')).sort(),
    gpus: pods
      .filter((pod) => !hasEnded(pod))
      .flatMap(({ spec }) => parts.gpuResources.map((resource) => requestOf(spec, resource)))
      .reduce((sum, gpus) => sum + gpus, 0),
    since: oldest([...(deployment === null ? [] : [deployment]), ...others, ...pods]),
  };
  if (deployment === null) {
    if (others.length === 0 && pods.length === 0)
      return { ...seen, state: 'absent', message: 'it does not exist' };
    return { ...seen, state: 'stopping', message: leftInWords(pods, others) };
  }
  if (isTerminating(deployment)) return { ...seen, state: 'stopping', message: leftInWords(pods, []) };
  const summary = summaryOf(seen.ready, wanted, pods);
  if (seen.ready >= wanted) return { ...seen, state: 'ready', message: summary };
  if (problem === null) return { ...seen, state: 'starting', message: summary };
  const { message, remedy, lasting } = problem;
  return { ...seen, state: lasting ? 'failed' : 'starting', message: `${summary}: ${message}`, remedy };
}

export const endpointOf = (ip: string): string =>
  `http://${ip.includes(':') ? `[${ip}]` : ip}:${PORT.number}`;

function oldest(objects: readonly AnyObject[]): number | null {
  const times = objects.map(({ metadata }) => Date.parse(metadata.creationTimestamp));
  return times.length === 0 ? null : Math.min(...times);
}

function leftInWords(pods: readonly Pod[], others: readonly AnyObject[]): string {
  if (pods.length > 0) return `it is being removed, ${count(pods.length, 'pod')} still ending`;
  if (others.length > 0) return `${count(others.length, 'object')} of it left, without a Deployment`;
  return 'it is being removed';
}

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** `1 of 3 replicas ready, 1 loading the model, 1 waiting for a node` */
function summaryOf(ready: number, wanted: number, pods: readonly Pod[]): string {
  const phases = pods.filter((pod) => !isReady(pod) && !isTerminating(pod) && !hasEnded(pod)).map(phaseOf);
  const kinds = [...new Set(phases)].map(
    (phase) => `${phases.filter((one) => one === phase).length} ${phase}`,
  );
  return [`${ready} of ${count(wanted, 'replica')} ready`, ...kinds].join(', ');
}

function phaseOf(pod: Pod): string {
  if (pod.spec.nodeName === undefined) return 'waiting for a node';
  const status = pod.status?.containerStatuses?.[0];
  const again = (status?.restartCount ?? 0) > 0;
  if (status?.state?.running === undefined) return again ? 'to start again' : 'getting its image and volumes';
  if (status.started === true) return 'not answering';
  return again ? 'loading the model again' : 'loading the model';
}
