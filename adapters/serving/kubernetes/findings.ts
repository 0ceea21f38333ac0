import {
  type ContainerStatus,
  conditionOf,
  type Deployment,
  hasEnded,
  isReady,
  isTerminating,
  type KubernetesEvent,
  type Pod,
  type Terminated,
} from '../../kubernetes/objects.ts';

/** What the API server says of a serving's replicas now. */
export interface Seen {
  deployment: Deployment;
  pods: readonly Pod[];
  /** Of its pods; empty where they may not be read. */
  events: readonly KubernetesEvent[];
}

/** What keeps replicas from becoming ready. `lasting`: it does not end by waiting. */
export type Finding = { lasting: boolean } & (
  | { cause: 'quota' | 'refused'; text: string }
  | { cause: 'configuration'; pod: string; text: string }
  | { cause: 'image'; pod: string; image: string; text: string }
  | { cause: 'ending'; pod: Pod; container: string; restarts: number; ends: number; last: Terminated }
  | { cause: 'probe'; pod: Pod; container: string; restarts: number; text: string }
  | { cause: 'volume'; pod: string; text: string }
  | { cause: 'unschedulable'; pod: Pod; text: string }
  | { cause: 'evicted'; pod: string; text: string }
  | { cause: 'deadline'; text: string }
);

/** A container that ended so often and was never ready is not waited for. */
const MANY_RESTARTS = 3;
/** A registry that failed so often without saying that the image does not exist. */
const MANY_PULLS = 3;

/** The finding that explains most, or null when all is as it should be. */
export function findingOf(seen: Seen): Finding | null {
  const { deployment, pods } = seen;
  const waiting = pods.filter((pod) => !isReady(pod) && !isTerminating(pod) && !hasEnded(pod));
  const finding =
    refusal(deployment) ??
    firstOf(waiting, (pod) => configuration(pod)) ??
    firstOf(waiting, (pod) => image(pod, eventsOf(seen, pod))) ??
    firstOf(waiting, (pod) => ending(pod, eventsOf(seen, pod))) ??
    firstOf(waiting, (pod) => volume(pod, eventsOf(seen, pod))) ??
    firstOf(waiting, (pod) => unschedulable(pod)) ??
    firstOf(waiting, (pod) => readiness(pod, eventsOf(seen, pod)));
  const progressing = conditionOf(deployment.status?.conditions, 'Progressing');
  const overdue = progressing?.status === 'False' && progressing.reason === 'ProgressDeadlineExceeded';
  if (overdue && waiting.length > 0) {
    return finding === null
      ? { cause: 'deadline', lasting: true, text: progressing.message ?? '' }
      : { ...finding, lasting: true };
  }
  return finding ?? firstOf(pods, evicted);
}

function firstOf(pods: readonly Pod[], look: (pod: Pod) => Finding | null): Finding | null {
  let found: Finding | null = null;
  for (const pod of pods) {
    const finding = look(pod);
    if (finding?.lasting) return finding;
    found ??= finding;
  }
  return found;
}

function eventsOf({ events }: Seen, pod: Pod): KubernetesEvent[] {
  return events.filter(({ involvedObject }) => involvedObject.uid === pod.metadata.uid);
}

/** The ReplicaSet may not make pods: a quota, an admission policy, a limit range. */
function refusal({ status }: Deployment): Finding | null {
  const failure = conditionOf(status?.conditions, 'ReplicaFailure');
  if (failure?.status !== 'True') return null;
  const text = failure.message ?? failure.reason ?? '';
  if (/exceeded quota/i.test(text)) return { cause: 'quota', lasting: true, text };
  // A ServiceAccount that was made just now is not yet known to every part of the API server.
  const passing = /error looking up service account/i.test(text) || !/forbidden|invalid/i.test(text);
  return { cause: 'refused', lasting: !passing, text };
}

function configuration(pod: Pod): Finding | null {
  const waiting = waitingOf(pod, ['CreateContainerConfigError', 'CreateContainerError']);
  if (waiting === null) return null;
  const { text } = waiting;
  return {
    cause: 'configuration',
    pod: pod.metadata.name,
    text,
    // The node has not heard of the Secret yet, or its runtime is busy.
    lasting: !/timed out|sync .* cache|context deadline/i.test(text),
  };
}

/** What a registry says for good. */
const noSuchImage = /not found|manifest unknown|denied|unauthorized|invalid reference|does not exist/i;

function image(pod: Pod, events: readonly KubernetesEvent[]): Finding | null {
  const reasons = [
    'InvalidImageName',
    'ErrImageNeverPull',
    'ErrImagePull',
    'ImagePullBackOff',
    'RegistryUnavailable',
  ];
  const waiting = waitingOf(pod, reasons);
  if (waiting === null) return null;
  const failures = events.filter(
    ({ reason, message }) => reason === 'Failed' && /pull image/i.test(message ?? ''),
  );
  const pulls = failures.reduce((sum, { count }) => sum + (count ?? 1), 0);
  // `Back-off pulling image` hides why; the event of the pull says it.
  const why = latest(failures)?.message ?? '';
  const text = /^back-off/i.test(waiting.text) && why !== '' ? why : waiting.text;
  const hopeless = waiting.reason === 'InvalidImageName' || waiting.reason === 'ErrImageNeverPull';
  return {
    cause: 'image',
    pod: pod.metadata.name,
    image: pod.spec.containers.find(({ name }) => name === waiting.container)?.image ?? '',
    text,
    lasting: hopeless || noSuchImage.test(`${text} ${waiting.text}`) || pulls >= MANY_PULLS,
  };
}

/** The container ended and was started again. */
function ending(pod: Pod, events: readonly KubernetesEvent[]): Finding | null {
  for (const status of statusesOf(pod)) {
    const last = status.state?.terminated ?? status.lastState?.terminated;
    if (last === undefined) continue;
    const restarts = status.restartCount;
    const many = restarts >= MANY_RESTARTS;
    const lasting = many && (!wasReady(pod) || last.reason === 'OOMKilled');
    const common = { pod, container: status.name, restarts, lasting };
    const killed = events.some(
      ({ reason, message }) => reason === 'Killing' && /failed (startup|liveness) probe/i.test(message ?? ''),
    );
    // A process that the probe's failure ends, ends by a signal or obeys it; one that ends by itself says so by its code.
    if (killed && [0, 137, 143].includes(last.exitCode) && last.reason !== 'OOMKilled') {
      return { ...common, cause: 'probe', text: probeText(events) };
    }
    const ends = status.state?.running === undefined ? restarts + 1 : restarts;
    return { ...common, cause: 'ending', ends, last };
  }
  return null;
}

/** It runs and has started, but does not answer as it should. */
function readiness(pod: Pod, events: readonly KubernetesEvent[]): Finding | null {
  const status = statusesOf(pod).find(({ ready, started, state }) => state?.running && started && !ready);
  const text = probeText(events);
  if (status === undefined || text === '') return null;
  return { cause: 'probe', pod, container: status.name, restarts: status.restartCount, text, lasting: false };
}

function volume(pod: Pod, events: readonly KubernetesEvent[]): Finding | null {
  const started = statusesOf(pod).some(({ state, restartCount }) => state?.running || restartCount > 0);
  if (started) return null;
  const reasons = ['FailedMount', 'FailedAttachVolume', 'FailedMapVolume', 'FailedCreatePodSandBox'];
  const event = latest(events.filter(({ reason }) => reasons.includes(reason ?? '')));
  if (event === undefined) return null;
  return { cause: 'volume', pod: pod.metadata.name, text: event.message ?? '', lasting: false };
}

/** A node may still come, by an autoscaler or because others let go; so it is waited for. */
function unschedulable(pod: Pod): Finding | null {
  const scheduled = conditionOf(pod.status?.conditions, 'PodScheduled');
  if (scheduled?.status !== 'False' || scheduled.reason === 'SchedulingGated') return null;
  return { cause: 'unschedulable', pod, text: scheduled.message ?? '', lasting: false };
}

function evicted(pod: Pod): Finding | null {
  const { phase, reason, message } = pod.status ?? {};
  if (phase !== 'Failed' || reason === undefined) return null;
  return { cause: 'evicted', pod: pod.metadata.name, text: message ?? reason, lasting: false };
}

/**
 * Was the pod ready before? Its kubelet sets `Ready` to false when it takes the pod; a later turn means that it was true between, up to
 * the seconds to which times are kept.
 */
export function wasReady(pod: Pod): boolean {
  const ready = conditionOf(pod.status?.conditions, 'Ready');
  if (ready?.status === 'True') return true;
  const turned = Date.parse(ready?.lastTransitionTime ?? '');
  return turned - Date.parse(pod.status?.startTime ?? '') > 2_000;
}

function statusesOf({ status }: Pod): ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
}

function waitingOf(
  pod: Pod,
  reasons: readonly string[],
): { container: string; reason: string; text: string } | null {
  for (const { name, state } of statusesOf(pod)) {
    const reason = state?.waiting?.reason ?? '';
    if (reasons.includes(reason)) return { container: name, reason, text: state?.waiting?.message ?? reason };
  }
  return null;
}

const probeText = (events: readonly KubernetesEvent[]): string =>
  latest(events.filter(({ reason }) => reason === 'Unhealthy'))?.message ?? '';

function latest(events: readonly KubernetesEvent[]): KubernetesEvent | undefined {
  const at = ({ lastTimestamp, eventTime, metadata }: KubernetesEvent): number =>
    Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp);
  return events.reduce<KubernetesEvent | undefined>(
    (newest, event) => (newest === undefined || at(event) >= at(newest) ? event : newest),
    undefined,
  );
}
