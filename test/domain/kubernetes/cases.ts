import { parseClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { defaultScaling } from '../../../domain/policy/policy.ts';
import {
  type ModelSpec,
  type RuntimeSpec,
  type ScalingPolicy,
  type ServingOrigin,
  servingDigest,
  type WantedServing,
} from '../../../domain/serving/serving.ts';
import { exampleModel, exampleRuntime } from '../../support/servings.ts';

export interface Rendering {
  serving: WantedServing;
  settings: ReturnType<typeof parseClusterSettings>;
  keda: boolean;
}

export interface Wish {
  model?: Partial<ModelSpec>;
  runtime?: Partial<RuntimeSpec>;
  dedicatedTo?: string | null;
  replicas?: number;
  scaling?: Partial<ScalingPolicy>;
  origin?: ServingOrigin | null;
}

export const imageDigest = `sha256:${'0123456789abcdef'.repeat(4)}`;
export const withImage = `image: vllm/vllm-openai@${imageDigest}\n`;

export function wanted({ dedicatedTo = null, origin = null, ...wish }: Wish = {}): WantedServing {
  const model = { ...exampleModel, ...wish.model };
  const runtime = { ...exampleRuntime(), ...wish.runtime };
  const scaling = { ...defaultScaling, ...wish.scaling };
  const digest = servingDigest(model, runtime, dedicatedTo);
  return { digest, model, runtime, dedicatedTo, replicas: wish.replicas ?? 1, scaling, origin };
}

const origin: ServingOrigin = {
  application: 'support-answers',
  release: 'support-answers-k3v9x2m7qa',
  revision: `sha256:${'feedc0de'.repeat(8)}`,
};

/** Llama 70B on four GPUs, with every flag that systems.md names. */
const large: Wish = {
  model: { name: 'meta-llama/Llama-3.3-70B-Instruct' },
  runtime: {
    flags: {
      'tensor-parallel-size': 4,
      'max-model-len': 8192,
      'gpu-memory-utilization': 0.9,
      'enable-chunked-prefill': true,
      'max-num-batched-tokens': 32768,
      'enable-prefix-caching': true,
      quantization: 'fp8',
      'speculative-config': '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}',
      'shutdown-timeout': 30,
    },
    gpu: { kind: 'H100-80GB', memoryGiB: 80, count: 4 },
    concurrency: 50,
    image: `registry.example/vllm@${imageDigest}`,
  },
  replicas: 3,
  origin,
};

const house = `
namespace: models
imagePullSecrets: [registry-read]
sharedMemory: 32Gi
modelCache: { claim: weights }
hfToken: { name: hugging-face, key: token }
apiKey: { name: vllm, key: api-key }
gpus:
  H100-80GB:
    nodeSelector: { example.com/pool: h100, kubernetes.io/arch: amd64 }
    tolerations: [{ key: example.com/gpu, operator: Equal, value: 'yes', effect: NoSchedule }]
runtimeClass: nvidia
priorityClass: serving
drain: 90s
startup: 20m
progressDeadline: 40m
clients:
  - { pods: { app.kubernetes.io/part-of: slipway }, namespaces: { kubernetes.io/metadata.name: slipway } }
autoscaling: { prometheusUrl: 'http://prometheus.monitoring:9090', waitingRequests: 2.5 }
`;

const closed = `${withImage}
modelHub: null
clients: []
modelCache: { hostPath: /srv/models }
runAsUser: 0
drain: 0s
podAnnotations: {}
`;

/** Each has its YAML in snapshots/, and is applied to a real API server. */
export const renderings: Record<string, Rendering> = {
  'a small model on default settings': {
    serving: wanted(),
    settings: parseClusterSettings(withImage),
    keda: false,
  },
  'a large model in a house of its own': {
    serving: wanted(large),
    settings: parseClusterSettings(house),
    keda: true,
  },
  'a HorizontalPodAutoscaler': {
    serving: wanted({ ...large, scaling: { by: 'autoscaler', maxReplicas: 8 } }),
    settings: parseClusterSettings(house),
    keda: false,
  },
  'a ScaledObject within a cost': {
    serving: wanted({
      ...large,
      scaling: { by: 'autoscaler', maxReplicas: 8, maxCostPerHour: 100, gpuHourPrice: 4 },
    }),
    settings: parseClusterSettings(house),
    keda: true,
  },
  'a closed cluster as root, without replicas': {
    serving: wanted({
      dedicatedTo: 'support-answers-k3v9x2m7qa',
      replicas: 0,
      scaling: { by: 'autoscaler' },
    }),
    settings: parseClusterSettings(closed),
    keda: true,
  },
};
