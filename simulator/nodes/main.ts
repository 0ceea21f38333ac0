import { constants } from 'node:os';
import { KubeConfig } from '@kubernetes/client-node';
import { pino } from 'pino';
import { NodesError } from './errors.ts';
import { startNodes } from './nodes.ts';
import { readSettings } from './settings.ts';

const logger = pino();

try {
  const settings = readSettings(process.argv.slice(2), process.env);
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const started = startNodes({ ...settings, kubeConfig, logger });
  let asked = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, async () => {
      const code = 128 + constants.signals[signal];
      if (asked) return;
      asked = true;
      await (await started).stop();
      process.exit(code);
    });
  }
  await started;
  logger.info({ nodes: settings.nodes.map(({ name }) => name) }, 'nodes are ready');
} catch (error) {
  if (!(error instanceof NodesError)) throw error;
  console.error(`${error.message}\n${error.remedy}`);
  process.exit(1);
}
