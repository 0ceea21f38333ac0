import type { V1Container } from '@kubernetes/client-node';
import { passing, statusOf } from './api.ts';
import { boundTo, CommandNotFound, vllmArguments } from './command.ts';
import type { ContainerContext, Waiting } from './container-context.ts';
import { ConfigError, resolvedEnvironment, type Values } from './environment.ts';
import { gpuMemoryGiB } from './gpu.ts';
import { MARK } from './kill.ts';
import { ContainerProcess } from './process.ts';
import { quantity } from './quantity.ts';

const API_RETRY_MS = 1000;

/** The container cannot be started; the message is one of a container runtime. */
export class StartError extends Error {
  override name = 'StartError';
}

/** The container's own variables, resolved; waits for as long as something that they refer to is missing. */
export async function ownEnvironment(
  spec: V1Container,
  { node, pod, podIP, lookups, record }: ContainerContext,
  { say, pause }: Waiting,
): Promise<Values> {
  for (;;) {
    try {
      return await resolvedEnvironment(spec, pod, { podIP, hostIP: node.address }, lookups);
    } catch (error) {
      if (error instanceof ConfigError) {
        record('Warning', 'Failed', `Error: ${error.message}`);
        say('CreateContainerConfigError', error.message);
        await pause(node.backoff.baseMs);
      } else if (passing(error) || statusOf(error) === 403) {
        await pause(API_RETRY_MS);
      } else throw error;
    }
  }
}

/** Starts the program in place of the container's command. Throws StartError. */
export async function launch(
  spec: V1Container,
  own: Values,
  logFile: string,
  { node, pod, podIP, folder }: ContainerContext,
): Promise<ContainerProcess> {
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: folder,
    HOSTNAME: pod.metadata?.name ?? '',
    ...machine(spec, node.gpuProduct),
    ...node.environment,
    ...own,
    [MARK]: node.groups.mark,
  };
  const [command = '', ...first] = node.program;
  try {
    const args = [...first, ...boundTo(vllmArguments(spec, own), podIP)];
    return await ContainerProcess.start({ command, args, env, cwd: folder, logFile }, node.groups);
  } catch (error) {
    const { message } = error as Error;
    throw new StartError(
      error instanceof CommandNotFound
        ? `failed to create containerd task: failed to create shim task: OCI runtime create failed: ${message}`
        : message,
    );
  }
}

/** What the simulator is to know of the machine that the container sees. */
function machine({ resources }: V1Container, gpuProduct: string | undefined): Record<string, string> {
  const { 'nvidia.com/gpu': gpus = '0', memory } = resources?.limits ?? {};
  return {
    SIMULATOR_GPUS: gpus,
    SIMULATOR_GPU_MEMORY_GIB: String(gpuMemoryGiB(gpuProduct)),
    ...(memory === undefined ? {} : { SIMULATOR_HOST_MEMORY_GIB: String(quantity(memory) / 2 ** 30) }),
  };
}
