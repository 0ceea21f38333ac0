import { type Place, type Resource, resources } from '../../kubernetes/resources.ts';
import { type Cluster, ifAllowed } from './context.ts';

export interface References {
  /** Objects that the cluster's settings name. */
  asked: number;
  /** In words, those that do not exist. */
  missing: string[];
  /** In words, those that may not be looked at. */
  unknown: string[];
}

/** Do the objects exist that the cluster's settings name? Of Secrets nothing but their metadata is read. */
export async function missingReferences({ client, settings }: Cluster): Promise<References> {
  const { namespace, hfToken, apiKey, imagePullSecrets, modelCache, runtimeClass, priorityClass } = settings;
  const named: { words: string; resource: Resource; place: Place }[] = [];
  const add = (
    kind: string,
    resource: Resource,
    name: string | null | undefined,
    inNamespace = true,
  ): void => {
    if (name === null || name === undefined) return;
    const words = `${kind} ${name}`;
    if (named.some((one) => one.words === words)) return;
    named.push({ words, resource, place: { name, ...(inNamespace && { namespace }) } });
  };
  for (const secret of [hfToken?.name, apiKey?.name, ...imagePullSecrets]) {
    add('secret', resources.secrets, secret);
  }
  add('PersistentVolumeClaim', resources.claims, modelCache.claim);
  add('RuntimeClass', resources.runtimeClasses, runtimeClass, false);
  add('PriorityClass', resources.priorityClasses, priorityClass, false);
  const found: References = { asked: named.length, missing: [], unknown: [] };
  for (const { words, resource, place } of named) {
    const object = await ifAllowed(client.get<object>(resource, place, { metadataOnly: true }), 'unknown');
    if (object === 'unknown') found.unknown.push(words);
    else if (object === null) found.missing.push(`${words} does not exist`);
  }
  return found;
}
