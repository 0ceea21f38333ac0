import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { realClock } from '../../../simulator/engine/clock.ts';
import { Engine } from '../../../simulator/engine/engine.ts';
import { EngineMetrics } from '../../../simulator/engine/engine-metrics.ts';
import { ModelServer } from '../../../simulator/http/model-server.ts';
import { type HttpSettings, makeHttpServer } from '../../../simulator/http/server.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { knowledge } from '../answers/support.ts';

export interface Served {
  url: string;
  metrics(): Promise<string>;
  close(): Promise<void>;
}

/** The simulator within this process, on a free port, fifty times as fast unless told otherwise. */
export async function serve(
  settings: Partial<HttpSettings> & { speed?: number; maxModelLen?: number } = {},
): Promise<Served> {
  const maxModelLen = settings.maxModelLen ?? 2048;
  const metrics = new EngineMetrics('support', maxModelLen, { block_size: '16' });
  const engine = new Engine(
    {
      plan: {
        maxModelLen,
        maxNumBatchedTokens: 2048,
        weightBits: 16,
        weightBytes: 16e9,
        kvBytesPerToken: 131_072,
        blocks: 5000,
      },
      blockSize: 16,
      maxNumSeqs: 256,
      prefixCaching: true,
      chunkedPrefill: true,
      parametersPerRank: 8e9,
      speed: settings.speed ?? 50,
    },
    metrics,
    realClock,
  );
  const server = new ModelServer({
    names: ['support', 'alias'],
    model: 'meta-llama/Llama-3.1-8B-Instruct',
    maxModelLen,
    ability: { parameters: 8.03e9, weightBits: 16 },
    knowledge,
    engine,
  });
  const http = makeHttpServer(server, metrics, {
    apiKeys: [],
    root: 'meta-llama/Llama-3.1-8B-Instruct',
    streamInterval: 1,
    promptTokensDetails: false,
    requestIdHeaders: false,
    ...settings,
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  return {
    url,
    metrics: async () => (await fetch(`${url}/metrics`)).text(),
    close: async () => {
      engine.stop();
      http.closeAllConnections();
      http.close();
      await once(http, 'close');
    },
  };
}

/** Polls until the condition holds. */
export async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
