const DEFAULT_GIB = 80;

/** Memory of one GPU in GiB, read from its product label: `A100-80GB`, `NVIDIA-H100-80GB-HBM3`, `L4-24GB`. */
export function gpuMemoryGiB(product: string | undefined): number {
  const size = /(?:^|[^0-9])(\d+)GB/.exec(product ?? '')?.[1];
  return size === undefined ? DEFAULT_GIB : Number(size);
}
