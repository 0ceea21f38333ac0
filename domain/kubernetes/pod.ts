import { vllmArguments } from '../serving/command.ts';
import { flagOf } from '../serving/flags.ts';
import { servingName, type WantedServing } from '../serving/serving.ts';
import { CONTAINER, PORT, podLabels, servingSelector } from './objects.ts';
import { type ClusterSettings, gpuSettingsOf, imageOf } from './settings.ts';
import { HOME, MODELS, volumeMounts, volumes } from './volumes.ts';

/** From SIGTERM on, beyond what vLLM itself waits for, until it is killed. */
const EXIT_SECONDS = 15;
const STARTUP_PERIOD_SECONDS = 2;

/** Of what the process does not see (who asked, how many replicas) nothing stands here: a change of it would restart every pod. */
export function podTemplate(serving: WantedServing, settings: ClusterSettings): Record<string, unknown> {
  const { resource, nodeSelector, tolerations } = gpuSettingsOf(serving.runtime, settings);
  const { runAsUser } = settings;
  const drainSeconds = seconds(settings.drain);
  return {
    metadata: { labels: podLabels(serving), annotations: settings.podAnnotations },
    spec: {
      serviceAccountName: servingName(serving.digest),
      automountServiceAccountToken: false,
      // Services become VLLM_… variables when one of them is called vllm, and vLLM reads VLLM_PORT as its own.
      enableServiceLinks: false,
      ...(settings.runtimeClass !== null && { runtimeClassName: settings.runtimeClass }),
      ...(settings.priorityClass !== null && { priorityClassName: settings.priorityClass }),
      nodeSelector,
      tolerations,
      // Rather two replicas on one node than a replica without a node.
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'kubernetes.io/hostname',
          whenUnsatisfiable: 'ScheduleAnyway',
          labelSelector: { matchLabels: servingSelector(serving.digest) },
        },
      ],
      // vLLM's images start as root but bring user 2000 and need nothing of root's: devices and libraries of the GPUs are there for
      // everyone. The group makes a claim writable; who owns it already is not walked through, which weights would take minutes for.
      securityContext: {
        runAsNonRoot: runAsUser !== 0,
        runAsUser,
        runAsGroup: runAsUser,
        fsGroup: runAsUser,
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      },
      terminationGracePeriodSeconds: drainSeconds + shutdownSeconds(serving) + EXIT_SECONDS,
      containers: [
        {
          name: CONTAINER,
          image: imageOf(serving.runtime, settings),
          imagePullPolicy: 'IfNotPresent',
          command: ['vllm'],
          args: vllmArguments(serving, { host: '0.0.0.0', port: PORT.number }).map(literally),
          env: environment(settings),
          ports: [{ name: PORT.name, containerPort: PORT.number, protocol: 'TCP' }],
          resources: resources(serving, settings, resource),
          // While it fails the other two wait, so however long weights take, readiness and liveness can be strict.
          startupProbe: health({
            periodSeconds: STARTUP_PERIOD_SECONDS,
            failureThreshold: Math.max(1, Math.ceil(seconds(settings.startup) / STARTUP_PERIOD_SECONDS)),
          }),
          readinessProbe: health({ periodSeconds: 5, failureThreshold: 3 }),
          // A restart costs minutes of loading: only after a whole minute without an answer. A dead engine ends the process by itself.
          livenessProbe: health({ periodSeconds: 10, failureThreshold: 6 }),
          ...(drainSeconds > 0 && { lifecycle: { preStop: { sleep: { seconds: drainSeconds } } } }),
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          terminationMessagePolicy: 'FallbackToLogsOnError',
          volumeMounts,
        },
      ],
      volumes: volumes(settings),
    },
  };
}

/** Whole seconds of so many milliseconds, rounded up. */
export const seconds = (ms: number): number => Math.ceil(ms / 1000);

/** Kubernetes puts variables into arguments at `$(NAME)`; a doubled `$` is a plain one. */
const literally = (argument: string): string => argument.replaceAll('$', '$$$$');

const health = (timing: { periodSeconds: number; failureThreshold: number }) => ({
  httpGet: { path: '/health', port: PORT.name, scheme: 'HTTP' },
  timeoutSeconds: 5,
  successThreshold: 1,
  ...timing,
});

/** What vLLM waits after SIGTERM for requests in flight, when it is told to (since 0.18). */
function shutdownSeconds({ runtime }: WantedServing): number {
  const given = Number(flagOf(runtime, 'shutdown-timeout') ?? 0);
  return Number.isFinite(given) && given > 0 ? Math.ceil(given) : 0;
}

/** Requests and limits are the same: a replica's memory is never another's, and it is the last one that a node evicts. */
function resources({ runtime }: WantedServing, settings: ClusterSettings, gpu: string) {
  const wanted = {
    cpu: settings.resources.cpu,
    memory: settings.resources.memory,
    [gpu]: String(runtime.gpu.count),
  };
  return { requests: wanted, limits: wanted };
}

function environment({ apiKey, hfToken, modelHub }: ClusterSettings) {
  const secret = (name: string, ref: ClusterSettings['apiKey']) =>
    ref === null ? [] : [{ name, valueFrom: { secretKeyRef: { name: ref.name, key: ref.key } } }];
  return [
    // The caches of vLLM, torch and triton go below HOME, and torch asks for the user's name, which a user without an entry has not.
    { name: 'HOME', value: HOME },
    { name: 'USER', value: 'vllm' },
    { name: 'HF_HOME', value: MODELS },
    ...(modelHub === null ? [{ name: 'HF_HUB_OFFLINE', value: '1' }] : []),
    { name: 'VLLM_NO_USAGE_STATS', value: '1' },
    ...secret('VLLM_API_KEY', apiKey),
    ...secret('HF_TOKEN', hfToken),
  ];
}
