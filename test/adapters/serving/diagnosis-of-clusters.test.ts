import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Condition, Deployment, KubernetesEvent, Pod } from '../../../adapters/kubernetes/objects.ts';
import { diagnose, type Evidence } from '../../../adapters/serving/kubernetes/diagnosis.ts';
import { findingOf } from '../../../adapters/serving/kubernetes/findings.ts';
import { gpuFigures, wishOf } from '../../../adapters/serving/kubernetes/gpus.ts';
import { deployment, event, node, pendingPod, pod, readyPod } from './kubernetes-objects.ts';

interface Case {
  what: string;
  deployment?: Deployment;
  pods?: Pod[];
  events?: KubernetesEvent[];
  evidence?: Partial<Evidence>;
  /** null: nothing is wrong. */
  lasting: boolean | null;
  message?: RegExp;
  remedy?: RegExp;
}

const failure = (message: string): Condition => ({
  type: 'ReplicaFailure',
  status: 'True',
  reason: 'FailedCreate',
  message,
});
const overdue: Condition = {
  type: 'Progressing',
  status: 'False',
  reason: 'ProgressDeadlineExceeded',
  message: 'ReplicaSet "slipway-1-abc" has timed out progressing.',
};
const waiting = (reason: string, message?: string, restartCount = 0) =>
  pod({ restartCount, state: { waiting: { reason, ...(message !== undefined && { message }) } } });
const ended = (
  exitCode: number,
  restartCount: number,
  more: object = {},
  status: Partial<Pod['status']> = {},
) =>
  pod(
    {
      restartCount,
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } },
      lastState: { terminated: { exitCode, ...more } },
    },
    status,
  );
const oncesReady = {
  conditions: [{ type: 'Ready', status: 'False' as const, lastTransitionTime: '2026-11-21T12:05:00Z' }],
};

/** The GPUs of these nodes, of which a pod on gpu-1 has some. */
function gpus(nodes: ReturnType<typeof node>[], used = 0, count = 1): Pick<Evidence, 'gpus'> {
  const wish = {
    ...wishOf(pod().spec, 'nvidia.com/gpu'),
    count,
    nodeSelector: { 'nvidia.com/gpu.product': 'A100' },
  };
  const other = pod(
    {},
    {},
    {
      containers: [{ name: 'x', resources: { requests: { 'nvidia.com/gpu': String(used) } } }],
    },
  );
  return { gpus: { wish, figures: gpuFigures(wish, nodes, used > 0 ? [other] : []) } };
}

const cases: Case[] = [
  { what: 'a replica that loads', pods: [pod()], lasting: null },
  { what: 'a replica that is ready', pods: [readyPod()], lasting: null },
  {
    what: 'a startup probe that fails while the model loads',
    pods: [pod()],
    events: [event('Unhealthy', 'Startup probe failed: connection refused')],
    lasting: null,
  },
  {
    what: 'a quota',
    deployment: deployment({}, [
      failure(
        'pods "slipway-1-x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=4, used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8',
      ),
    ]),
    lasting: true,
    message:
      /^the quota gpus is used up: wanted requests\.nvidia\.com\/gpu=4 more, used requests\.nvidia\.com\/gpu=8, limit requests\.nvidia\.com\/gpu=8$/,
    remedy: /^Raise the ResourceQuota gpus/,
  },
  {
    what: 'a policy that refuses the pods',
    deployment: deployment({}, [
      failure(
        'pods "slipway-1-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
      ),
    ]),
    lasting: true,
    message: /^the cluster refuses its pods: violates PodSecurity "restricted:latest"/,
  },
  {
    what: 'an account that was made just now',
    deployment: deployment({}, [
      failure(
        'pods "x" is forbidden: error looking up service account n/slipway-1: serviceaccount "slipway-1" not found',
      ),
    ]),
    lasting: false,
  },
  {
    what: 'a secret that is missing',
    pods: [waiting('CreateContainerConfigError', 'secret "hf-token" not found')],
    lasting: true,
    message: /^the secret hf-token does not exist$/,
    remedy: /^Create the secret hf-token/,
  },
  {
    what: 'a secret without its key',
    pods: [waiting('CreateContainerConfigError', "couldn't find key token in Secret slipway/hf-token")],
    lasting: true,
    message: /^the secret hf-token has no key token$/,
  },
  {
    what: 'a secret that the node has not heard of yet',
    pods: [
      waiting(
        'CreateContainerConfigError',
        'failed to sync secret cache: timed out waiting for the condition',
      ),
    ],
    lasting: false,
  },
  {
    what: 'an image that wants to be root',
    pods: [waiting('CreateContainerConfigError', 'container has runAsNonRoot and image will run as root')],
    lasting: true,
    remedy: /^Set runAsUser/,
  },
  {
    what: 'an image that does not exist',
    pods: [waiting('ImagePullBackOff', 'Back-off pulling image "vllm@sha256:0"')],
    events: [
      event('Failed', 'Failed to pull image "vllm@sha256:0": rpc error: code = NotFound desc = not found'),
    ],
    lasting: true,
    message: /^the image vllm@sha256:0 cannot be pulled: not found$/,
    remedy: /^Correct runtime\.image/,
  },
  {
    what: 'an image that does not exist, as every layer says it',
    pods: [
      waiting(
        'ImagePullBackOff',
        'Back-off pulling image "a.io/vllm@sha256:0": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "a.io/vllm@sha256:0": failed to resolve reference "a.io/vllm@sha256:0": a.io/vllm@sha256:0: not found',
      ),
    ],
    lasting: true,
    message: /^the image vllm@sha256:0 cannot be pulled: not found$/,
  },
  {
    what: 'a registry that is not found, which is not the image',
    pods: [
      waiting(
        'ErrImagePull',
        'rpc error: code = Unknown desc = failed to pull and unpack image "a:5000/vllm:1": failed to resolve reference "a:5000/vllm:1": failed to do request: Head "https://a:5000/v2": dial tcp: lookup a: no such host',
      ),
    ],
    lasting: false,
    message:
      /^the image vllm@sha256:0 cannot be pulled: failed to do request: Head "https:\/\/a:5000\/v2": dial tcp: lookup a: no such host$/,
  },
  {
    what: 'an image that needs credentials',
    pods: [
      waiting('ErrImagePull', 'pull access denied, repository does not exist or may require authorization'),
    ],
    lasting: true,
    remedy: /imagePullSecrets/,
  },
  {
    what: 'a registry that did not answer twice',
    pods: [waiting('ImagePullBackOff', 'Back-off pulling image')],
    events: [event('Failed', 'Failed to pull image "x": i/o timeout', { count: 2 })],
    lasting: false,
    message: /i\/o timeout/,
  },
  {
    what: 'a registry that did not answer three times',
    pods: [waiting('ImagePullBackOff', 'Back-off pulling image')],
    events: [event('Failed', 'Failed to pull image "x": i/o timeout', { count: 3 })],
    lasting: true,
  },
  {
    what: 'the name of an image that is none',
    pods: [waiting('InvalidImageName', 'couldn\'t parse image name "a b"')],
    lasting: true,
  },
  {
    what: 'a container that ended twice',
    pods: [ended(1, 2)],
    evidence: { log: 'loading\nRuntimeError: no luck\n' },
    lasting: false,
    message:
      /^vllm in pod pod-1 ended 3 times, with status 1\. The end of its log:\nloading\nRuntimeError: no luck$/,
    remedy: /^Read kubectl logs -n slipway pod-1 -c vllm --previous$/,
  },
  {
    what: 'a GPU that is too small',
    pods: [ended(1, 3)],
    evidence: { log: 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB.' },
    lasting: true,
    message: /CUDA out of memory/,
    remedy: /^The GPU is too small/,
  },
  {
    what: 'a failure of which the log may not be read',
    pods: [ended(2, 3, { message: 'vllm: error: unrecognized arguments: --modle' })],
    lasting: true,
    message: /unrecognized arguments: --modle$/,
    remedy: /^Correct runtime\.flags/,
  },
  {
    what: 'a failure whose log is empty: the successor has said nothing yet',
    pods: [ended(2, 3, { message: 'vllm: error: unrecognized arguments: --modle' })],
    evidence: { log: '\n' },
    lasting: true,
    message: /unrecognized arguments: --modle$/,
    remedy: /^Correct runtime\.flags/,
  },
  {
    what: 'a failure without any log',
    pods: [ended(1, 3)],
    lasting: true,
    message: /^vllm in pod pod-1 ended 4 times, with status 1$/,
  },
  {
    what: 'a replica that fails after it was ready: its node restarts it, with growing pauses',
    pods: [ended(1, 5, {}, oncesReady)],
    lasting: false,
  },
  {
    what: "too little of the host's memory, even after it was ready",
    pods: [ended(137, 3, { reason: 'OOMKilled' }, oncesReady)],
    lasting: true,
    message: /ended 4 times, killed for lack of memory/,
    remedy: /^Raise resources\.memory/,
  },
  {
    what: 'a program that the image does not have',
    pods: [
      ended(128, 3, { reason: 'StartError', message: 'exec: "vllm": executable file not found in $PATH' }),
    ],
    lasting: true,
    message: /executable file not found/,
    remedy: /^Correct the image/,
  },
  {
    what: 'a probe that never passes',
    pods: [ended(137, 3)],
    events: [
      event('Unhealthy', 'Startup probe failed: HTTP probe failed with statuscode: 404'),
      event('Killing', 'Container vllm failed startup probe, will be restarted'),
    ],
    lasting: true,
    message:
      /^vllm in pod pod-1 does not answer its probe and was started afresh 3 times: Startup probe failed: HTTP probe failed with statuscode: 404$/,
    remedy: /raise startup in the cluster's settings/,
  },
  {
    what: 'a replica that ends by itself although its probe failed before',
    pods: [ended(1, 3)],
    events: [event('Killing', 'Container vllm failed startup probe, will be restarted')],
    lasting: true,
    message: /^vllm in pod pod-1 ended 4 times, with status 1/,
  },
  {
    what: 'a replica that stopped to answer',
    pods: [pod({ started: true })],
    events: [event('Unhealthy', 'Readiness probe failed: HTTP probe failed with statuscode: 503')],
    lasting: false,
    message: /does not answer its probe: Readiness probe failed/,
  },
  {
    what: 'a volume that cannot be mounted',
    pods: [waiting('ContainerCreating')],
    events: [
      event(
        'FailedMount',
        'MountVolume.SetUp failed for volume "models": hostPath type check failed: /m is not a directory',
      ),
    ],
    lasting: false,
    message: /hostPath type check failed/,
    remedy: /^Correct modelCache/,
  },
  {
    what: 'a claim that does not exist',
    pods: [pendingPod('0/3 nodes are available: persistentvolumeclaim "weights" not found. preemption: 0/3')],
    lasting: false,
    message: /^the PersistentVolumeClaim weights does not exist$/,
  },
  {
    what: 'a claim without a volume',
    pods: [pendingPod('0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.')],
    lasting: false,
    message: /^the claim of the model cache is not bound/,
  },
  {
    what: 'too few GPUs',
    pods: [pendingPod('0/2 nodes are available: 2 Insufficient nvidia.com/gpu.')],
    evidence: gpus([node('gpu-1', 8), node('gpu-2', 2)], 7, 4),
    lasting: false,
    message:
      /^too few GPUs: it wants 4 nvidia\.com\/gpu on one node, free are 3 \(gpu-1 1 of 8, gpu-2 2 of 2\)$/,
    remedy: /^Add a node/,
  },
  {
    what: 'GPUs behind a taint',
    pods: [pendingPod('0/1 nodes are available: 1 node(s) had untolerated taint {team: x}.')],
    evidence: gpus([
      node('gpu-1', 8, { spec: { taints: [{ key: 'team', value: 'x', effect: 'NoSchedule' }] } }),
    ]),
    lasting: false,
    message: /^no node takes it: gpu-1 is tainted team=x:NoSchedule$/,
    remedy: /^Add a toleration of team=x:NoSchedule/,
  },
  {
    what: 'nodes that are cordoned or lost',
    pods: [pendingPod('0/2 nodes are available')],
    evidence: gpus([
      node('gpu-1', 8, { spec: { unschedulable: true } }),
      node('gpu-2', 8, { status: { allocatable: { 'nvidia.com/gpu': '8' }, conditions: [] } }),
    ]),
    lasting: false,
    message: /^no node takes it: gpu-1 is cordoned, gpu-2 is not ready$/,
    remedy: /^Bring the nodes back/,
  },
  {
    what: 'no node of the kind',
    pods: [pendingPod("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")],
    evidence: gpus([{ ...node('cpu-1', 0), metadata: { ...node('cpu-1', 0).metadata, labels: {} } }]),
    lasting: false,
    message: /^no node takes it: none of the 1 nodes has nvidia\.com\/gpu\.product=A100$/,
    remedy: /nodeSelector/,
  },
  {
    what: 'GPUs on nodes without enough CPU',
    pods: [pendingPod('0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available.')],
    evidence: gpus([node('gpu-1', 8)]),
    lasting: false,
    message:
      /^no node takes it, though 8 GPUs are free \(gpu-1 8 of 8\): 0\/1 nodes are available: 1 Insufficient cpu$/,
    remedy: /^Lower resources/,
  },
  {
    what: 'nodes that may not be looked at',
    pods: [pendingPod('0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: no')],
    lasting: false,
    message: /^no node takes it: 0\/2 nodes are available: 2 Insufficient nvidia\.com\/gpu$/,
    remedy: /^Add a node with enough free GPUs/,
  },
  {
    what: 'a replica without a node for too long',
    deployment: deployment({}, [overdue]),
    pods: [pendingPod('0/2 nodes are available: 2 Insufficient nvidia.com/gpu.')],
    lasting: true,
    message: /Insufficient/,
  },
  {
    what: 'no progress for no reason that is known',
    deployment: deployment({}, [overdue]),
    pods: [pod()],
    lasting: true,
    message: /^the Deployment gave up waiting: ReplicaSet "slipway-1-abc" has timed out progressing\.$/,
    remedy: /raise progressDeadline/,
  },
  {
    what: 'an eviction',
    pods: [
      {
        ...pod(),
        status: { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' },
      },
    ],
    lasting: false,
    message: /^pod pod-1 was evicted: The node was low on resource: memory\.$/,
  },
  {
    what: 'of two replicas the one that will not become ready',
    pods: [pendingPod('0/1 nodes are available'), waiting('InvalidImageName', 'no name')],
    lasting: true,
    message: /^the image vllm@sha256:0 cannot be pulled: no name$/,
  },
  {
    what: 'of two images that cannot be pulled the one that never can',
    pods: [waiting('ErrImagePull', 'timeout'), waiting('InvalidImageName', 'no name')],
    lasting: true,
    message: /no name$/,
  },
  {
    what: 'a pod that had its name before had the trouble',
    pods: [pod({ started: true })],
    events: [
      event('Unhealthy', 'Readiness probe failed', {
        involvedObject: { kind: 'Pod', name: 'pod-1', uid: 'uid-of-another' },
      }),
    ],
    lasting: null,
  },
  {
    what: 'an overdue Deployment whose replicas all came after all',
    deployment: deployment({}, [overdue]),
    pods: [readyPod()],
    lasting: null,
  },
  {
    what: 'a replica that does not answer its probe, without what users said',
    pods: [pod({ started: true })],
    events: [event('Unhealthy', 'Readiness probe failed: HTTP 503')],
    evidence: { log: 'Request 1 details: prompt: "I am Ada"\nGPU lost' },
    lasting: false,
    message: /^(?!.*Ada).*The end of its log:\nGPU lost$/s,
  },
];

for (const { what, lasting, message, remedy, evidence = {}, ...seen } of cases) {
  test(what, () => {
    const finding = findingOf({ deployment: deployment(), pods: [], events: [], ...seen });
    assert.equal(finding?.lasting ?? null, lasting);
    if (finding === null) return;
    const told = diagnose(finding, { gpus: null, log: null, namespace: 'slipway', ...evidence });
    assert.match(told.message, message ?? /./);
    assert.match(told.remedy, remedy ?? /./);
  });
}
