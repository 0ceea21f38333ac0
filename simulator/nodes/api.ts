import {
  ApiException,
  CoordinationV1Api,
  CoreV1Api,
  createConfiguration,
  type KubeConfig,
  type Middleware,
  PatchStrategy,
  ServerConfiguration,
  setHeaderOptions,
} from '@kubernetes/client-node';
import { NodesError } from './errors.ts';

/** A server that takes the connection and never answers must not hold a pod's life up for longer, in milliseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

export interface Api {
  core: CoreV1Api;
  coordination: CoordinationV1Api;
}

export function apiOf(kubeConfig: KubeConfig): Api {
  const cluster = kubeConfig.getCurrentCluster();
  if (cluster === null) {
    throw new NodesError(
      'The kubeconfig names no cluster.',
      'Set KUBECONFIG to a file with a current context.',
    );
  }
  const timeout: Middleware = {
    pre: async (request) => {
      request.setSignal(AbortSignal.timeout(REQUEST_TIMEOUT_MS));
      return request;
    },
    post: async (response) => response,
  };
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(cluster.server, {}),
    authMethods: { default: kubeConfig },
    promiseMiddleware: [timeout],
  });
  return { core: new CoreV1Api(configuration), coordination: new CoordinationV1Api(configuration) };
}

export const mergePatch = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
export const strategicMergePatch = setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch);

/** The HTTP status with which the API server refused; undefined when it did not answer. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof ApiException ? error.code : undefined;
}

/** A try later may succeed: no answer, too many requests, or a failure of the server. */
export function passing(error: unknown): boolean {
  const status = statusOf(error);
  return status === undefined || status === 429 || status >= 500;
}
