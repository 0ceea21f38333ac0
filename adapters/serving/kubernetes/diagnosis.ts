import type { Pod, Terminated } from '../../kubernetes/objects.ts';
import { remedyFor } from '../diagnosis.ts';
import type { Finding } from './findings.ts';
import {
  type GpuFigures,
  type GpuWish,
  nodesInWords,
  obstacleInWords,
  obstacleRemedy,
  selectorInWords,
} from './gpus.ts';
import { logTail } from './log-tail.ts';

/** What was looked up for a finding; null: it may not be read, or there is none. */
export interface Evidence {
  /** The GPUs of the nodes, for a pod without a node. */
  gpus: { wish: GpuWish; figures: GpuFigures } | null;
  /** The end of the container's log. */
  log: string | null;
  namespace: string;
}

export interface Diagnosis {
  /** In a person's words, without a full stop. */
  message: string;
  remedy: string;
}

/** A finding in a person's words, and what to do about it. */
export function diagnose(finding: Finding, evidence: Evidence): Diagnosis {
  switch (finding.cause) {
    case 'quota':
      return quota(finding.text);
    case 'refused':
      return {
        message: `the cluster refuses its pods: ${refusedWords(finding.text)}`,
        remedy: "Change what the message names: the cluster's settings, or the policy that refuses",
      };
    case 'configuration':
      return configuration(finding.text);
    case 'image':
      return image(finding.image, finding.text);
    case 'ending':
      return ending(finding, evidence);
    case 'probe':
      return probe(finding, evidence);
    case 'volume':
      return volume(finding.text);
    case 'unschedulable':
      return unschedulable(finding.text, evidence);
    case 'evicted':
      return {
        message: `pod ${finding.pod} was evicted: ${finding.text}`,
        remedy: "Give the servings more memory or disk in the cluster's settings, or relieve the node",
      };
    case 'deadline':
      return {
        message: `the Deployment gave up waiting: ${finding.text}`,
        remedy: `Look at the pods with kubectl describe pods -n ${evidence.namespace}, or raise progressDeadline in the cluster's settings`,
      };
  }
}

/** Source: the message of the API server's quota admission. */
function quota(text: string): Diagnosis {
  const [, name, requested, used, limited] =
    /exceeded quota: (\S+), requested: (.+), used: (.+), limited: (.+)$/s.exec(text) ?? [];
  if (name === undefined) return { message: text, remedy: 'Raise the ResourceQuota of the namespace' };
  return {
    message: `the quota ${name} is used up: wanted ${requested} more, used ${used}, limit ${limited}`,
    remedy: `Raise the ResourceQuota ${name}, end servings that nobody needs, or ask for fewer replicas`,
  };
}

/** Without the name of a pod that never was. */
const refusedWords = (text: string): string => text.replace(/^pods? "[^"]*" is (forbidden|invalid): /, '');

function configuration(text: string): Diagnosis {
  const [, kind, name] = /\b(secret|configmap) "([^"]+)" not found/.exec(text) ?? [];
  if (name !== undefined) {
    return {
      message: `the ${kind} ${name} does not exist`,
      remedy: `Create the ${kind} ${name}, or correct its name in the cluster's settings`,
    };
  }
  const [, key, secret] = /couldn't find key (\S+) in Secret (?:[^\s/]+\/)?(\S+)/.exec(text) ?? [];
  if (secret !== undefined) {
    return {
      message: `the secret ${secret} has no key ${key}`,
      remedy: `Add the key ${key} to the secret, or correct it in the cluster's settings`,
    };
  }
  const root = /runAsNonRoot/.test(text);
  return {
    message: `the container cannot be made: ${text}`,
    remedy: root
      ? "Set runAsUser in the cluster's settings to a user that the image has, or 0"
      : "Correct what the message names in the cluster's settings",
  };
}

function image(name: string, text: string): Diagnosis {
  const access = /denied|unauthorized|authentication|403|401/i.test(text);
  return {
    message: `the image ${name} cannot be pulled: ${pullWords(text)}`,
    remedy: access
      ? "Name a secret with access to the registry as imagePullSecrets in the cluster's settings, or correct the image"
      : "Correct runtime.image or the image of the cluster's settings; the nodes must reach its registry",
  };
}

/** What each layer puts before the registry's own words: the image's name once more. Source: kubelet and containerd. */
const layers =
  /^(back-off pulling image "[^"]*": \w+: |failed to pull image "[^"]*": |rpc error: code = \w+ desc = |failed to pull and unpack image "[^"]*": |failed to resolve (reference|image) "[^"]*": )/i;

function pullWords(text: string): string {
  let words = text;
  while (layers.test(words)) words = words.replace(layers, '');
  // At last the registry's client names the image, too.
  return words.replace(/^[^\s:]+([:@][^\s:]+)*: (?=not found$)/, '');
}

type Ending = Extract<Finding, { cause: 'ending' }>;
type Probe = Extract<Finding, { cause: 'probe' }>;

function ending({ pod, container, ends, last }: Ending, evidence: Evidence): Diagnosis {
  // The kubelet keeps the end of the log in the message of a container that failed, also for those who may not read logs.
  const log = logTail(evidence.log ?? '') || logTail(last.message ?? '');
  const often = ends === 1 ? 'ended' : `ended ${times(ends)}`;
  const how = `${container} in pod ${pod.metadata.name} ${often}, ${endedBy(last)}`;
  if (last.reason === 'OOMKilled') {
    return {
      message: withLog(`${how}: the host's memory that it may use was too little`, log),
      remedy: "Raise resources.memory in the cluster's settings; shared memory counts against it",
    };
  }
  if (last.reason === 'StartError' || last.reason === 'ContainerCannotRun') {
    return {
      message: `${how}: ${last.message ?? 'its program could not be started'}`,
      remedy: 'Correct the image: it must have the program vllm',
    };
  }
  return { message: withLog(how, log), remedy: remedyFor(log, whereToRead(pod, container, evidence, true)) };
}

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`);

function endedBy({ exitCode, reason, signal }: Terminated): string {
  if (reason === 'OOMKilled') return 'killed for lack of memory';
  if (signal !== undefined && signal !== 0) return `by signal ${signal}`;
  return exitCode > 128 ? `by signal ${exitCode - 128}` : `with status ${exitCode}`;
}

function probe({ pod, container, restarts, text }: Probe, evidence: Evidence): Diagnosis {
  const log = logTail(evidence.log ?? '');
  const often = restarts === 0 ? '' : ` and was started afresh ${times(restarts)}`;
  const read = `the log: ${whereToRead(pod, container, evidence, restarts > 0)}`;
  return {
    message: withLog(
      `${container} in pod ${pod.metadata.name} does not answer its probe${often}: ${text}`,
      log,
    ),
    remedy: remedyFor(
      log,
      `${read}; if it only loads for long, raise startup in the cluster's settings, and policy.serving.readyWithin`,
    ),
  };
}

const withLog = (message: string, log: string): string =>
  log === '' ? message : `${message}. The end of its log:\n${log}`;

function whereToRead(
  { metadata }: Pod,
  container: string,
  { namespace }: Evidence,
  previous: boolean,
): string {
  return `kubectl logs -n ${namespace} ${metadata.name} -c ${container}${previous ? ' --previous' : ''}`;
}

function volume(text: string): Diagnosis {
  const [, secret] = /secret "([^"]+)" not found/.exec(text) ?? [];
  return {
    message: `a volume or the network of the pod cannot be set up: ${text}`,
    remedy:
      secret === undefined
        ? "Correct modelCache or runtimeClass in the cluster's settings, or what the message names"
        : `Create the secret ${secret}`,
  };
}

/** Why no node takes it: by the nodes where they may be read, else by what the scheduler says. */
function unschedulable(text: string, { gpus }: Evidence): Diagnosis {
  const claim = claimOf(text);
  if (claim !== null) return claim;
  if (gpus === null)
    return { message: `no node takes it: ${scheduler(text)}`, remedy: schedulerRemedy(text) };
  const { wish, figures } = gpus;
  const { count, resource, nodeSelector } = wish;
  const wanted = `${count} ${resource}`;
  if (figures.nodes.length === 0) {
    const where = `none of the ${figures.allNodes} nodes has ${selectorInWords(nodeSelector)}`;
    return {
      message: `no node takes it: ${where}`,
      remedy: "Add such a node, or correct the GPU kind's nodeSelector in the cluster's settings",
    };
  }
  const closed = obstacleRemedy(figures);
  if (closed !== null) {
    const told = figures.nodes.flatMap(({ name, obstacle }) =>
      obstacle === null ? [] : `${name} is ${obstacleInWords(obstacle)}`,
    );
    return { message: `no node takes it: ${told.slice(0, 5).join(', ')}`, remedy: closed };
  }
  if (figures.room === 0) {
    return {
      message: `too few GPUs: it wants ${wanted} on one node, free are ${figures.free} (${nodesInWords(figures)})`,
      remedy: 'Add a node with such GPUs, end servings that nobody needs, or ask for fewer GPUs or replicas',
    };
  }
  return {
    message: `no node takes it, though ${figures.free} GPUs are free (${nodesInWords(figures)}): ${scheduler(text)}`,
    remedy: schedulerRemedy(text),
  };
}

function claimOf(text: string): Diagnosis | null {
  const [, missing] = /persistentvolumeclaim "([^"]+)" not found/.exec(text) ?? [];
  if (missing !== undefined) {
    return {
      message: `the PersistentVolumeClaim ${missing} does not exist`,
      remedy: `Create the claim ${missing}, or correct modelCache.claim in the cluster's settings`,
    };
  }
  if (!/unbound immediate PersistentVolumeClaims|didn't find available persistent volumes/i.test(text))
    return null;
  return {
    message: 'the claim of the model cache is not bound to a volume',
    remedy: 'Look at it with kubectl describe pvc: it needs a volume or a StorageClass that makes one',
  };
}

/** `0/3 nodes are available: 1 Insufficient cpu, …` without what preemption would not have done. */
const scheduler = (text: string): string => text.replace(/\s*preemption: .*$/s, '').replace(/\.\s*$/, '');

function schedulerRemedy(text: string): string {
  if (/untolerated taint/i.test(text)) {
    return "Add a toleration to the GPU kind in the cluster's settings, or a node without that taint";
  }
  if (/node affinity\/selector/i.test(text) && !/Insufficient/.test(text)) {
    return "Correct the GPU kind's nodeSelector in the cluster's settings, or add a node that it matches";
  }
  if (/Insufficient (cpu|memory|ephemeral-storage)/.test(text) && !/Insufficient [\w.-]+\//.test(text)) {
    return "Lower resources in the cluster's settings, or add a larger node";
  }
  return 'Add a node with enough free GPUs, or end servings that nobody needs';
}
