import type { V1Container, V1EnvVar, V1Pod } from '@kubernetes/client-node';
import { expanded } from './command.ts';

/** The container's configuration names something that is not there; the message is a kubelet's. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

export type Values = Readonly<Record<string, string>>;

/** Contents of the namespace's secrets and config maps; undefined for one that does not exist. */
export interface Lookups {
  secret(name: string): Promise<Values | undefined>;
  configMap(name: string): Promise<Values | undefined>;
}

export interface PodAddresses {
  podIP: string;
  hostIP: string;
}

/** The variables of a container, references resolved. Throws ConfigError. */
export async function resolvedEnvironment(
  container: V1Container,
  pod: V1Pod,
  addresses: PodAddresses,
  lookups: Lookups,
): Promise<Record<string, string>> {
  const variables: Record<string, string> = {};
  for (const { prefix = '', secretRef, configMapRef } of container.envFrom ?? []) {
    const reference = secretRef ?? configMapRef;
    const name = reference?.name ?? '';
    const found = secretRef ? await lookups.secret(name) : await lookups.configMap(name);
    if (found === undefined && reference?.optional !== true) {
      throw new ConfigError(`${secretRef ? 'secret' : 'configmap'} "${name}" not found`);
    }
    for (const [key, value] of Object.entries(found ?? {})) variables[prefix + key] = value;
  }
  for (const variable of container.env ?? []) {
    const value =
      variable.valueFrom === undefined
        ? expanded(variable.value ?? '', variables)
        : await referenced(variable, pod, addresses, lookups);
    if (value !== undefined) variables[variable.name] = value;
  }
  return variables;
}

async function referenced(
  { name, valueFrom }: V1EnvVar,
  pod: V1Pod,
  addresses: PodAddresses,
  lookups: Lookups,
): Promise<string | undefined> {
  const { secretKeyRef, configMapKeyRef, fieldRef } = valueFrom ?? {};
  const ofKey = secretKeyRef ?? configMapKeyRef;
  if (ofKey !== undefined) {
    const kind = secretKeyRef ? 'Secret' : 'ConfigMap';
    const from = ofKey.name ?? '';
    const found = secretKeyRef ? await lookups.secret(from) : await lookups.configMap(from);
    const value = found?.[ofKey.key];
    if (value !== undefined || ofKey.optional === true) return value;
    throw new ConfigError(
      found === undefined
        ? `${kind.toLowerCase()} "${from}" not found`
        : `couldn't find key ${ofKey.key} in ${kind} ${pod.metadata?.namespace}/${from}`,
    );
  }
  if (fieldRef !== undefined) return field(fieldRef.fieldPath, pod, addresses);
  throw new ConfigError(`variable ${name}: this kind of reference is not supported by a simulated node`);
}

function field(path: string, { metadata, spec }: V1Pod, { podIP, hostIP }: PodAddresses): string {
  const known: Record<string, string | undefined> = {
    'metadata.name': metadata?.name,
    'metadata.namespace': metadata?.namespace,
    'metadata.uid': metadata?.uid,
    'spec.nodeName': spec?.nodeName,
    'spec.serviceAccountName': spec?.serviceAccountName,
    'status.podIP': podIP,
    'status.podIPs': podIP,
    'status.hostIP': hostIP,
    'status.hostIPs': hostIP,
  };
  const entry = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (entry !== null) {
    const [, kind, key = ''] = entry;
    return (kind === 'labels' ? metadata?.labels : metadata?.annotations)?.[key] ?? '';
  }
  const value = known[path];
  if (value === undefined) throw new ConfigError(`unsupported fieldPath: ${path}`);
  return value;
}

/** What a volume of the pod waits for, in a kubelet's words; undefined when every secret and config map is there. */
export async function missingVolume(pod: V1Pod, lookups: Lookups): Promise<string | undefined> {
  for (const { name, secret, configMap } of pod.spec?.volumes ?? []) {
    const source = secret ?? configMap;
    if (source === undefined || source.optional === true) continue;
    const from = secret?.secretName ?? configMap?.name ?? '';
    const found = secret ? await lookups.secret(from) : await lookups.configMap(from);
    if (found === undefined) {
      return `MountVolume.SetUp failed for volume "${name}" : ${secret ? 'secret' : 'configmap'} "${from}" not found`;
    }
  }
  return undefined;
}
