/** `1 sample`, `2 samples`: a noun whose plural only takes an s. */
export function counted(count: number | string, noun: string): string {
  return `${count} ${noun}${String(count) === '1' ? '' : 's'}`;
}
