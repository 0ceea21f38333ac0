import type { ClusterSettings } from './settings.ts';

export const HOME = '/home/vllm';
/** Where the model hub's files are kept; a claim may hold models of its own there, too. */
export const MODELS = '/models';

/** Room for what is compiled at the start, and for temporary files; a pod that wants more is evicted instead of filling its node. */
const SCRATCH_SIZE = '10Gi';

/** Everything that vLLM writes to: the container's own file system is read-only. */
export const volumeMounts = [
  { name: 'models', mountPath: MODELS },
  { name: 'home', mountPath: HOME },
  { name: 'tmp', mountPath: '/tmp' },
  { name: 'shm', mountPath: '/dev/shm' },
];

export function volumes({ modelCache, sharedMemory }: ClusterSettings): Record<string, unknown>[] {
  return [
    { name: 'models', ...models(modelCache) },
    { name: 'home', emptyDir: { sizeLimit: SCRATCH_SIZE } },
    { name: 'tmp', emptyDir: { sizeLimit: SCRATCH_SIZE } },
    { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: sharedMemory } },
  ];
}

function models({ claim, hostPath, emptyDir }: ClusterSettings['modelCache']): Record<string, unknown> {
  if (claim !== undefined) return { persistentVolumeClaim: { claimName: claim } };
  // `DirectoryOrCreate` would make a folder of root's, where vLLM could not write.
  if (hostPath !== undefined) return { hostPath: { path: hostPath, type: 'Directory' } };
  return { emptyDir: { sizeLimit: emptyDir } };
}
