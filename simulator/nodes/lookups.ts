import { type Api, statusOf } from './api.ts';
import type { Lookups, Values } from './environment.ts';

/** Reads secrets and config maps of one namespace through the API. */
export function lookupsIn(namespace: string, { core }: Api): Lookups {
  return {
    secret: (name) =>
      orUndefined(async () => {
        const { data = {} } = await core.readNamespacedSecret({ name, namespace });
        return Object.fromEntries(
          Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
        );
      }),
    configMap: (name) =>
      orUndefined(async () => (await core.readNamespacedConfigMap({ name, namespace })).data ?? {}),
  };
}

async function orUndefined(read: () => Promise<Values>): Promise<Values | undefined> {
  try {
    return await read();
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}
