import { SlipwayError } from '../../domain/errors.ts';
import { flagArguments } from '../../domain/serving/flags.ts';
import type { Serving } from '../../domain/serving/serving.ts';

/** Reads a command as people configure it: a JSON array of strings, or words parted by spaces. */
export function parseCommand(text: string): string[] {
  const words = text.trim().startsWith('[') ? parseArray(text) : text.trim().split(/\s+/);
  if (words === null || words.length === 0 || words[0] === '') {
    throw new SlipwayError('INPUT_INVALID', 'the command that starts vLLM cannot be read', {
      field: 'SLIPWAY_VLLM_COMMAND',
      value: text,
      remedy: 'Give a program with its arguments, e.g. vllm, or a JSON array of strings',
    });
  }
  return words;
}

function parseArray(text: string): string[] | null {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : null;
  } catch {
    return null;
  }
}

/** vLLM's arguments for one replica: `serve MODEL --served-model-name … --host … --port …` and the runtime's flags by name. */
export function vllmArguments(serving: Serving, address: { host: string; port: number }): string[] {
  const { model, runtime } = serving;
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
