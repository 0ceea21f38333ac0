import { existsSync } from 'node:fs';
import { KubeConfig } from '@kubernetes/client-node';
import { SlipwayError } from '../../domain/errors.ts';

const TOKEN_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * The cluster of the environment: that of KUBECONFIG (one file, or several parted by colons), else the one that this process runs in, by
 * its pod's ServiceAccount. A kubeconfig in the home folder is never taken: it may point anywhere.
 * @throws SlipwayError INPUT_INVALID when there is neither, or it cannot be read
 */
export function loadKubeConfig(env: Readonly<Record<string, string | undefined>>): KubeConfig {
  const files = (env.KUBECONFIG ?? '').split(':').filter((file) => file !== '');
  if (files.length > 0) return fromFiles(files);
  if (env.KUBERNETES_SERVICE_HOST && existsSync(TOKEN_FILE)) {
    const config = new KubeConfig();
    config.loadFromCluster();
    return config;
  }
  throw new SlipwayError('INPUT_INVALID', 'it is not said which Kubernetes cluster to use', {
    field: 'KUBECONFIG',
    remedy: 'Set KUBECONFIG to a kubeconfig file, or run in a pod with the token of a ServiceAccount',
  });
}

function fromFiles(files: readonly string[]): KubeConfig {
  const config = new KubeConfig();
  try {
    for (const [index, file] of files.entries()) {
      const read = new KubeConfig();
      read.loadFromFile(file);
      // As kubectl does: the first file's current context stays.
      if (index === 0) config.loadFromOptions(read);
      else config.mergeConfig(read, true);
    }
    if (config.getCurrentCluster() === null) throw new Error('its current context names no cluster');
    return config;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SlipwayError('INPUT_INVALID', `the kubeconfig cannot be used: ${why}`, {
      field: 'KUBECONFIG',
      value: files.join(':'),
      remedy: 'Name a kubeconfig file whose current context has a cluster and a user',
    });
  }
}
