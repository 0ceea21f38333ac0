import { SlipwayError } from '../errors.ts';

/** Memory in MiB as the driver reports it (nvidia-smi), which differs from the name on the box. Source: NVML's figures for each card. */
const mebibytes: Readonly<Record<string, number>> = {
  'B200-180GB': 183_359,
  'H200-141GB': 143_771,
  'H100-80GB': 81_559,
  'A100-80GB': 81_920,
  'A100-40GB': 40_960,
  'L40S-48GB': 46_068,
  'L4-24GB': 23_034,
  'A10-24GB': 23_028,
  'T4-16GB': 15_360,
};

export const gpuKinds: readonly string[] = Object.keys(mebibytes);

/** @throws SlipwayError INPUT_INVALID for a kind that nobody has told the memory of */
export function gpuMemoryGiB(kind: string): number {
  const known = Object.entries(mebibytes).find(([name]) => name.toLowerCase() === kind.toLowerCase());
  if (known !== undefined) return known[1] / 1024;
  throw new SlipwayError('INPUT_INVALID', `nobody has told the memory of the GPU ${kind}`, {
    field: 'gpu',
    value: kind,
    remedy: `Use one of ${gpuKinds.join(', ')}, or say its memory as nvidia-smi does: --memory-gib`,
  });
}
