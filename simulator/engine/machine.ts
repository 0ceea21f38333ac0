import { StartRefused } from './refused.ts';

/** What vLLM takes of the host's memory, in GiB: its processes, and the CUDA context and buffers of each rank. */
const BASE_GIB = 4;
const RANK_GIB = 2;
/** How a process ends that the kernel kills for its memory. */
const KILLED = 137;

/**
 * Compares the ranks with SIMULATOR_GPUS and SIMULATOR_HOST_MEMORY_GIB, where they are set. Throws StartRefused in vLLM's words; a host
 * without enough memory says nothing and kills.
 */
export function checkMachine(ranks: number): void {
  const gpus = limit('SIMULATOR_GPUS');
  if (gpus === 0) {
    throw new StartRefused(
      'RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG` ' +
        'to turn on verbose logging to help debug the issue.',
    );
  }
  if (ranks > gpus) {
    throw new StartRefused(
      'pydantic_core._pydantic_core.ValidationError: 1 validation error for ParallelConfig\n' +
        `  Value error, World size (${ranks}) is larger than the number of available GPUs (${gpus}) in this node. ` +
        'If this is intentional and you are using:\n' +
        "- ray, set '--distributed-executor-backend ray'.\n" +
        "- multiprocessing, set '--nnodes' appropriately.",
    );
  }
  if (limit('SIMULATOR_HOST_MEMORY_GIB') < BASE_GIB + RANK_GIB * ranks) process.exit(KILLED);
}

/** Infinite when it is not set. */
function limit(name: string): number {
  const text = process.env[name];
  return text === undefined || text === '' ? Number.POSITIVE_INFINITY : Number(text);
}
