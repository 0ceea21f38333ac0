import { SlipwayError } from '../../domain/errors.ts';

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
