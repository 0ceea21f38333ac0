import type { Command } from 'commander';
import { ApiClient } from '../client.ts';
import { makeOutput, type Output } from '../output.ts';

/** The local stack's API. */
const DEFAULT_URL = 'http://127.0.0.1:8080';

export interface CommandContext {
  api: ApiClient;
  output: Output;
}

/** What a command works with, from its global options and the environment. */
export function contextOf(command: Command): CommandContext {
  const { json = false, api } = command.optsWithGlobals<{ json?: boolean; api?: string }>();
  const key = process.env.SLIPWAY_API_KEY || undefined;
  return {
    api:
      api === undefined
        ? new ApiClient(process.env.SLIPWAY_API_URL || DEFAULT_URL, key)
        : new ApiClient(api, key, '--api'),
    output: makeOutput(json),
  };
}

/** Wraps the work of a command: its context first, then arguments and options as commander gives them. */
export function run<Args extends unknown[]>(
  work: (context: CommandContext, ...args: Args) => Promise<void>,
): (this: Command, ...args: Args) => Promise<void> {
  return async function (...args) {
    await work(contextOf(this), ...args);
  };
}
