import { constants } from 'node:os';
import { KubeConfig } from '@kubernetes/client-node';
import { pino } from 'pino';
import { NodesError } from './errors.ts';
import { startNodes } from './nodes.ts';
import { readSettings } from './settings.ts';

const logger = pino();

const stopping = new AbortController();
const asked = new Promise<NodeJS.Signals>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, resolve);
});
void asked.then(() => stopping.abort());

try {
  const settings = readSettings(process.argv.slice(2), process.env);
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const nodes = await startNodes({ ...settings, kubeConfig, logger, signal: stopping.signal });
  logger.info({ nodes: settings.nodes.map(({ name }) => name) }, 'nodes are ready');
  await asked;
  await nodes.stop();
} catch (error) {
  if (!stopping.signal.aborted) {
    console.error(error instanceof NodesError ? `${error.message}\n${error.remedy}` : error);
    process.exit(1);
  }
}
process.exit(128 + constants.signals[await asked]);
