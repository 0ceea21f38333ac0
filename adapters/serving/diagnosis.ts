/** What vLLM's log says when it cannot start, and what to do about it; the first that matches speaks. */
const symptoms: [RegExp, string][] = [
  [
    /max seq len|maximum number of tokens that can be stored in KV cache|No available memory for the cache blocks/i,
    'Lower --max-model-len, raise --gpu-memory-utilization, or use more GPUs',
  ],
  [
    /out of memory/i,
    'The GPU is too small or in use by others: use more GPUs, or lower --gpu-memory-utilization',
  ],
  [
    /unrecognized arguments?|invalid choice|unknown option/i,
    'Correct runtime.flags: this vLLM does not know one of them',
  ],
  [/gated repo|401 Client Error|HF_TOKEN/i, 'Set HF_TOKEN to a token that may read the model'],
  [
    /not a valid model identifier|Repository Not Found|does not appear to have a file/i,
    'Correct model.name: it was not found',
  ],
  [/address already in use|EADDRINUSE/i, 'Another program took the port; try again'],
];

/** A remedy for the end of a log, as a sentence; without a known symptom, where to read on. */
export function remedyFor(log: string, whereToRead: string): string {
  return symptoms.find(([symptom]) => symptom.test(log))?.[1] ?? `Read ${whereToRead}`;
}
