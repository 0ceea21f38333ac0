import type { V1ContainerStatus, V1Pod, V1PodCondition, V1PodStatus } from '@kubernetes/client-node';

export interface ObservedPod {
  pod: V1Pod;
  initContainers: readonly V1ContainerStatus[];
  containers: readonly V1ContainerStatus[];
  /** Undefined before the pod has its address, and after it has given it back. */
  podIP: string | undefined;
  hostIP: string;
  startTime: Date;
  /** Conditions as last said, whose times of transition hold as long as they do not change. */
  conditions: readonly V1PodCondition[];
  /** Nothing of the pod will run again. */
  over: boolean;
  now: Date;
}

/** The status of a pod that follows from its containers, by a kubelet's rules. Conditions of others (PodScheduled) are not in it. */
export function podStatus(observed: ObservedPod): V1PodStatus {
  const { initContainers, containers, podIP, hostIP, startTime } = observed;
  return {
    phase: phaseOf(observed),
    conditions: conditionsOf(observed),
    startTime,
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(podIP === undefined ? {} : { podIP, podIPs: [{ ip: podIP }] }),
    ...(initContainers.length === 0 ? {} : { initContainerStatuses: [...initContainers] }),
    containerStatuses: [...containers],
  };
}

type Phase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

function phaseOf({ pod, initContainers, containers, over }: ObservedPod): Phase {
  const policy = pod.spec?.restartPolicy ?? 'Always';
  const initFailed = initContainers.some(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0);
  if (initFailed && policy === 'Never') return 'Failed';
  if (!initialised(initContainers)) return over ? 'Failed' : 'Pending';
  if (over)
    return containers.every(({ state }) => state?.terminated?.exitCode === 0) ? 'Succeeded' : 'Failed';
  const created = ({ state, lastState }: V1ContainerStatus) =>
    state?.running !== undefined || state?.terminated !== undefined || lastState?.terminated !== undefined;
  if (!containers.every(created)) return 'Pending';
  const ended = containers.filter(({ state }) => state?.terminated !== undefined);
  if (ended.length < containers.length || policy === 'Always') return 'Running';
  if (ended.every(({ state }) => state?.terminated?.exitCode === 0)) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

function initialised(initContainers: readonly V1ContainerStatus[]): boolean {
  return initContainers.every(({ state }) => state?.terminated?.exitCode === 0);
}

function conditionsOf(observed: ObservedPod): V1PodCondition[] {
  const { initContainers, containers, podIP, conditions, now } = observed;
  const phase = phaseOf(observed);
  const ended = phase === 'Succeeded' ? 'PodCompleted' : phase === 'Failed' ? 'PodFailed' : undefined;
  const names = (list: readonly V1ContainerStatus[]) => `[${list.map(({ name }) => name).join(' ')}]`;
  const uninitialised = initContainers.filter(({ state }) => state?.terminated?.exitCode !== 0);
  const unready = containers.filter(({ ready }) => !ready);
  const initialisation: Judgement =
    uninitialised.length === 0
      ? {}
      : {
          reason: 'ContainersNotInitialized',
          message: `containers with incomplete status: ${names(uninitialised)}`,
        };
  const readiness: Judgement =
    ended !== undefined
      ? { reason: ended }
      : unready.length === 0
        ? {}
        : { reason: 'ContainersNotReady', message: `containers with unready status: ${names(unready)}` };
  const said: [string, boolean, Judgement][] = [
    ['PodReadyToStartContainers', podIP !== undefined, {}],
    ['Initialized', uninitialised.length === 0, initialisation],
    ['ContainersReady', readiness.reason === undefined, readiness],
    ['Ready', readiness.reason === undefined, readiness],
  ];
  return said.map(([type, holds, judgement]) => {
    const status = holds ? 'True' : 'False';
    const before = conditions.find((condition) => condition.type === type);
    const since = before?.status === status ? before.lastTransitionTime : undefined;
    return { type, status, ...judgement, lastTransitionTime: since ?? now };
  });
}

interface Judgement {
  reason?: string;
  message?: string;
}
