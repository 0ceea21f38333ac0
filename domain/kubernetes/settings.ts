import { z } from 'zod';
import { formatDuration } from '../duration.ts';
import { SlipwayError } from '../errors.ts';
import { pinnedImage } from '../release/parse.ts';
import type { RuntimeSpec } from '../serving/serving.ts';
import { duration, hints, parseYaml, positiveDuration, validate } from '../validation.ts';

/** What a cluster is like, the same for every serving on it. Durations in milliseconds, in YAML `90s`. */
export interface ClusterSettings {
  /** Where servings live. */
  namespace: string;
  /** vLLM's image for runtimes that name none, pinned by digest; null: every runtime must name its own. */
  image: string | null;
  imagePullSecrets: string[];
  /** Of each replica, as requests and limits, in the API's quantities; shared memory counts against `memory`. */
  resources: { cpu: string; memory: string };
  /** Size of /dev/shm, through which the ranks of tensor parallelism talk. */
  sharedMemory: string;
  /** Where weights are kept between starts: one of the three. An emptyDir is loaded again by each new pod. */
  modelCache: ModelCache;
  /** Token for the model hub; null: only public or cached models. */
  hfToken: SecretKey | null;
  /** What vLLM asks of its callers as a bearer token (SLIPWAY_VLLM_API_KEY of gateway and worker); null: the network policy alone guards it. */
  apiKey: SecretKey | null;
  /** By the runtime's `gpu.kind`. */
  gpus: Record<string, GpuSettings>;
  runtimeClass: string | null;
  priorityClass: string | null;
  /** User of the container. 2000 is the one that vLLM's images bring since 0.20; 0 for an image that needs root. */
  runAsUser: number;
  /**
   * How long a pod that is to end goes on serving, so that gateways learn of it and requests in flight end: on SIGTERM vLLM cuts
   * them off. Whole seconds.
   */
  drain: number;
  /** How long vLLM may load before it is started afresh. */
  startup: number;
  /** Without any progress for this long, image and node included, the Deployment has failed. */
  progressDeadline: number;
  /** Who may reach the servings: gateway, worker, evaluator, Prometheus. */
  clients: ClientSelector[];
  /** Where weights come from; null: pods reach nothing but DNS. */
  modelHub: { cidrs: string[]; port: number } | null;
  /** Annotations of the pods, e.g. what makes Prometheus scrape them. */
  podAnnotations: Record<string, string>;
  autoscaling: AutoscalingSettings;
}

export interface ModelCache {
  /** A PersistentVolumeClaim, which must allow as many nodes as there are replicas. */
  claim?: string | undefined;
  /** A folder of the node. */
  hostPath?: string | undefined;
  /** Size of a folder that ends with its pod. */
  emptyDir?: string | undefined;
}

export interface SecretKey {
  name: string;
  key: string;
}

export interface GpuSettings {
  /** The extended resource under which the nodes offer them. */
  resource: string;
  nodeSelector: Record<string, string>;
  tolerations: Toleration[];
}

export interface Toleration {
  key?: string | undefined;
  operator?: 'Exists' | 'Equal' | undefined;
  value?: string | undefined;
  effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute' | undefined;
}

export interface ClientSelector {
  pods: Record<string, string>;
  /** Labels of their namespaces; left out: the servings' own; empty: all. */
  namespaces?: Record<string, string> | undefined;
}

export interface AutoscalingSettings {
  /** Waiting requests of a replica to aim at. */
  waitingRequests: number;
  /** The pods' metric for a HorizontalPodAutoscaler, as the custom metrics API calls it. */
  metric: string;
  /** Prometheus as KEDA reaches it; null: no ScaledObject can be made. */
  prometheusUrl: string | null;
  /** Does the cluster add GPU nodes by itself when pods wait for them? Then too few free GPUs are no obstacle to a release. */
  nodes: boolean;
}

const noSchedule: Toleration[] = [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }];

/** By the label of NVIDIA's GPU feature discovery. */
const gpuOf = (product: string): GpuSettings => ({
  resource: 'nvidia.com/gpu',
  nodeSelector: { 'nvidia.com/gpu.product': product },
  tolerations: noSchedule,
});

export const defaultClusterSettings: ClusterSettings = {
  namespace: 'slipway',
  image: null,
  imagePullSecrets: [],
  resources: { cpu: '16', memory: '64Gi' },
  sharedMemory: '16Gi',
  modelCache: { emptyDir: '200Gi' },
  hfToken: null,
  apiKey: null,
  gpus: {
    'A100-40GB': gpuOf('NVIDIA-A100-SXM4-40GB'),
    'A100-80GB': gpuOf('NVIDIA-A100-SXM4-80GB'),
    'H100-80GB': gpuOf('NVIDIA-H100-80GB-HBM3'),
    'H200-141GB': gpuOf('NVIDIA-H200'),
    'L4-24GB': gpuOf('NVIDIA-L4'),
    'L40S-48GB': gpuOf('NVIDIA-L40S'),
  },
  runtimeClass: null,
  priorityClass: null,
  runAsUser: 2000,
  drain: 60_000,
  startup: 600_000,
  progressDeadline: 1_200_000,
  clients: [
    { pods: { 'app.kubernetes.io/part-of': 'slipway' } },
    { pods: { 'app.kubernetes.io/name': 'prometheus' }, namespaces: {} },
  ],
  modelHub: { cidrs: ['0.0.0.0/0', '::/0'], port: 443 },
  podAnnotations: {
    'prometheus.io/scrape': 'true',
    'prometheus.io/port': '8000',
    'prometheus.io/path': '/metrics',
  },
  autoscaling: { waitingRequests: 4, metric: 'vllm_num_requests_waiting', prometheusUrl: null, nodes: false },
};

const MAX_LABEL = 63;
const port = z.number().int().min(1).max(65_535);

const label = z
  .string()
  .max(MAX_LABEL)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, 'is no name of a namespace');
hints.add(label, { remedy: 'Use lower case letters, digits and dashes, at most 63 of them' });

const objectName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, 'is no name of a Kubernetes object');
hints.add(objectName, { remedy: 'Use lower case letters, digits, dashes and dots, e.g. hf-token' });

const secretKey = z.strictObject({
  name: objectName,
  key: z.string().regex(/^[A-Za-z0-9._-]{1,253}$/, 'is no key of a Secret'),
});

const quantity = z
  .string()
  .regex(/^[1-9]\d{0,14}(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/, 'is no quantity of Kubernetes');
hints.add(quantity, { remedy: 'Write a quantity in quotes, e.g. "16" CPUs or 64Gi of memory' });

const qualifiedName = z
  .string()
  .max(253 + 1 + MAX_LABEL)
  .regex(
    /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
    'is no key of a label',
  );
hints.add(qualifiedName, { remedy: 'Write a key such as nvidia.com/gpu.product' });

const labelText = z
  .string()
  .max(MAX_LABEL)
  .regex(/^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$/, 'is no value of a label');
hints.add(labelText, {
  remedy: 'Use letters, digits, dashes, dots and underscores, at most 63 of them, in quotes',
});

const labelMap = z.record(qualifiedName, labelText);

const modelCache = z
  .strictObject({
    claim: objectName.optional(),
    hostPath: z.string().startsWith('/', 'must be an absolute path').optional(),
    emptyDir: quantity.optional(),
  })
  .refine((cache) => Object.values(cache).filter((value) => value !== undefined).length === 1, {
    error: 'must be one place',
    params: { remedy: 'Give exactly one of claim, hostPath and emptyDir' },
  });

const toleration = z.strictObject({
  key: qualifiedName.optional(),
  operator: z.enum(['Exists', 'Equal']).optional(),
  value: labelText.optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional(),
});

const gpu = z.strictObject({
  resource: qualifiedName.optional(),
  nodeSelector: labelMap,
  tolerations: z.array(toleration).optional(),
});

const url = z.url({ protocol: /^https?$/ });
hints.add(url, { remedy: 'Give an http or https address' });

const cidr = z.union([z.cidrv4(), z.cidrv6()], { error: 'is no range of addresses' });
hints.add(cidr, { remedy: 'Give a range such as 10.0.0.0/8' });

/** What a file of settings says; the rest is the default's. Lists replace the default's, GPU kinds join them. */
export const clusterSettingsSchema = z
  .strictObject({
    namespace: label,
    image: pinnedImage.nullable(),
    imagePullSecrets: z.array(objectName),
    resources: z.strictObject({ cpu: quantity, memory: quantity }).partial(),
    sharedMemory: quantity,
    modelCache,
    hfToken: secretKey.nullable(),
    apiKey: secretKey.nullable(),
    gpus: z.record(z.string().min(1), gpu),
    runtimeClass: objectName.nullable(),
    priorityClass: objectName.nullable(),
    runAsUser: z
      .number()
      .int()
      .min(0)
      .max(2 ** 31 - 1),
    drain: duration,
    startup: positiveDuration,
    progressDeadline: positiveDuration,
    clients: z.array(z.strictObject({ pods: labelMap, namespaces: labelMap.optional() })),
    modelHub: z.strictObject({ cidrs: z.array(cidr).min(1), port }).nullable(),
    podAnnotations: z.record(qualifiedName, z.string()),
    autoscaling: z
      .strictObject({
        waitingRequests: z.number().gt(0),
        metric: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_.-]*$/, 'is no name of a metric'),
        prometheusUrl: url.nullable(),
        nodes: z.boolean(),
      })
      .partial(),
  })
  .partial();

/**
 * Reads a file of settings (SLIPWAY_CLUSTER_FILE) over the default ones.
 * @throws SlipwayError INPUT_INVALID naming the field, its value and a remedy
 */
export function parseClusterSettings(yaml: string): ClusterSettings {
  const input = validate(clusterSettingsSchema, parseYaml(yaml, 'INPUT_INVALID') ?? {}, 'INPUT_INVALID');
  const { gpus, resources, autoscaling, ...given } = input;
  const base = defaultClusterSettings;
  const settings: ClusterSettings = {
    ...base,
    ...present(given),
    gpus: { ...base.gpus, ...mapped(gpus ?? {}) },
    resources: { ...base.resources, ...present(resources ?? {}) },
    autoscaling: { ...base.autoscaling, ...present(autoscaling ?? {}) },
  };
  if (settings.progressDeadline < settings.startup) {
    throw new SlipwayError('INPUT_INVALID', 'progressDeadline ends before a start may last', {
      field: 'progressDeadline',
      value: formatDuration(settings.progressDeadline),
      remedy: 'Make it longer than startup, by what pulling the image and getting a node take',
    });
  }
  return settings;
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function present<T extends object>(given: T): Present<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<T>;
}

function mapped(gpus: Record<string, z.output<typeof gpu>>): Record<string, GpuSettings> {
  return Object.fromEntries(
    Object.entries(gpus).map(
      ([kind, { resource = 'nvidia.com/gpu', nodeSelector, tolerations = noSchedule }]) => [
        kind,
        { resource, nodeSelector, tolerations },
      ],
    ),
  );
}

/** The image of a runtime on this cluster. @throws SlipwayError INPUT_INVALID when neither names one */
export function imageOf(runtime: RuntimeSpec, settings: ClusterSettings): string {
  const image = runtime.image ?? settings.image;
  if (image !== null) return image;
  throw new SlipwayError(
    'INPUT_INVALID',
    "neither the runtime nor the cluster's settings name vLLM's image",
    {
      field: 'runtime.image',
      remedy:
        "Set image in the cluster's settings (SLIPWAY_CLUSTER_FILE), or runtime.image of the release, to repository/name@sha256: and 64 hex digits",
    },
  );
}

/** How the cluster offers the runtime's GPUs. @throws SlipwayError INPUT_INVALID for a kind that its settings do not have */
export function gpuSettingsOf(runtime: RuntimeSpec, settings: ClusterSettings): GpuSettings {
  const { kind } = runtime.gpu;
  const gpu = Object.hasOwn(settings.gpus, kind) ? settings.gpus[kind] : undefined;
  if (gpu !== undefined) return gpu;
  throw new SlipwayError(
    'INPUT_INVALID',
    `the cluster's settings do not say where GPUs of kind ${kind} are`,
    {
      field: 'runtime.gpu.kind',
      value: kind,
      remedy: `Add gpus.${kind} with its nodeSelector to the cluster's settings (SLIPWAY_CLUSTER_FILE), or use one of: ${Object.keys(settings.gpus).join(', ')}`,
    },
  );
}
