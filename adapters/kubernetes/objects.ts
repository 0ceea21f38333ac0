/** What Slipway reads of Kubernetes' objects, as the API server sends them: times in RFC 3339, quantities as text. */

export interface Metadata {
  name: string;
  namespace?: string;
  uid: string;
  resourceVersion: string;
  generation?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  creationTimestamp: string;
  deletionTimestamp?: string;
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
}

/** Any object, of which nothing but its metadata counts. */
export interface AnyObject {
  metadata: Metadata;
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export interface ManagedFields {
  manager?: string;
  operation?: string;
  fieldsV1?: Record<string, unknown>;
}

export interface Deployment {
  metadata: Metadata & { managedFields?: ManagedFields[] };
  spec: { replicas?: number; template: { spec: PodSpec } };
  status?: { observedGeneration?: number; conditions?: Condition[] };
}

export interface Container {
  name: string;
  image?: string;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
}

export interface Toleration {
  key?: string | undefined;
  operator?: string | undefined;
  value?: string | undefined;
  effect?: string | undefined;
}

export interface PodSpec {
  nodeName?: string;
  nodeSelector?: Record<string, string>;
  tolerations?: Toleration[];
  containers: Container[];
  initContainers?: Container[];
}

export interface Terminated {
  exitCode: number;
  signal?: number;
  reason?: string;
  message?: string;
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt?: string };
  terminated?: Terminated;
}

export interface ContainerStatus {
  name: string;
  ready: boolean;
  started?: boolean;
  restartCount: number;
  image?: string;
  state?: ContainerState;
  lastState?: ContainerState;
}

export interface Pod {
  metadata: Metadata;
  spec: PodSpec;
  status?: {
    phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
    reason?: string;
    message?: string;
    conditions?: Condition[];
    podIP?: string;
    startTime?: string;
    containerStatuses?: ContainerStatus[];
    initContainerStatuses?: ContainerStatus[];
  };
}

export interface KubernetesEvent {
  metadata: Metadata;
  type?: string;
  reason?: string;
  message?: string;
  count?: number;
  lastTimestamp?: string | null;
  eventTime?: string | null;
  involvedObject: { kind?: string; name?: string; uid?: string };
}

export interface Taint {
  key: string;
  value?: string;
  effect: string;
}

export interface Node {
  metadata: Metadata;
  spec?: { unschedulable?: boolean; taints?: Taint[] };
  status?: { allocatable?: Record<string, string>; conditions?: Condition[] };
}

export interface ResourceQuota {
  metadata: Metadata;
  status?: { hard?: Record<string, string>; used?: Record<string, string> };
}

/** The condition of a type, if the object has it. */
export function conditionOf(conditions: Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Is it on its way out? */
export const isTerminating = ({ metadata }: AnyObject): boolean => metadata.deletionTimestamp !== undefined;

/** A pod that answers, and is to go on doing so. */
export function isReady(pod: Pod): boolean {
  return !isTerminating(pod) && conditionOf(pod.status?.conditions, 'Ready')?.status === 'True';
}

/** A pod that has ended holds nothing any more. */
export const hasEnded = ({ status }: Pod): boolean =>
  status?.phase === 'Succeeded' || status?.phase === 'Failed';

const suffixes: Record<string, number> = {
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A quantity as a number; 0 for what is none. */
export function quantityOf(text: string | undefined): number {
  const [, digits = '', suffix = ''] =
    /^([+-]?[\d.]+(?:[eE][+-]?\d+)?)([mkMGTPE]i?|Ki)?$/.exec(text ?? '') ?? [];
  const value = Number(digits) * (suffix === '' ? 1 : (suffixes[suffix] ?? Number.NaN));
  return Number.isFinite(value) ? value : 0;
}

/** What a pod asks of one resource: its containers together, or the greediest of its init containers. */
export function requestOf({ containers, initContainers = [] }: PodSpec, resource: string): number {
  const asked = ({ resources }: Container): number =>
    quantityOf(resources?.requests?.[resource] ?? resources?.limits?.[resource]);
  const together = containers.reduce((sum, container) => sum + asked(container), 0);
  return Math.max(together, ...initContainers.map(asked));
}
