import { flagArguments } from './flags.ts';
import type { Serving } from './serving.ts';

/** vLLM's arguments for one replica: `serve MODEL --served-model-name … --host … --port …` and the runtime's flags by name. */
export function vllmArguments(
  { model, runtime }: Pick<Serving, 'model' | 'runtime'>,
  address: { host: string; port: number },
): string[] {
  return [
    'serve',
    model.name,
    '--served-model-name',
    model.name,
    '--host',
    address.host,
    '--port',
    String(address.port),
    ...flagArguments(runtime),
  ];
}
