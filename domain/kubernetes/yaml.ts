import { stringify } from 'yaml';
import type { KubernetesObject } from './objects.ts';

/** One document an object, keys in alphabetical order. Readers of YAML 1.1, as Kubernetes' own, take `yes` for a boolean: it is quoted. */
export function manifestYaml(objects: readonly KubernetesObject[]): string {
  const options = {
    version: '1.1',
    sortMapEntries: true,
    aliasDuplicateObjects: false,
    lineWidth: 0,
  } as const;
  return objects.map((object) => `---\n${stringify(object, options)}`).join('');
}
