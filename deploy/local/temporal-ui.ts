import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { answersHttp } from './probe.ts';
import type { ManagedProcess, Supervisor } from './processes.ts';

export interface TemporalUiOptions {
  supervisor: Supervisor;
  program: string;
  state: string;
  port: number;
  /** Address of the server's frontend, `HOST:PORT`. */
  temporalAddress: string;
  /** The namespace that the UI opens with. */
  namespace: string;
}

export interface LocalTemporalUi {
  url: string;
  process: ManagedProcess;
}

/** Starts the Temporal UI. */
export async function startLocalTemporalUi(options: TemporalUiOptions): Promise<LocalTemporalUi> {
  const { supervisor, program, state, port, temporalAddress, namespace } = options;
  const folder = join(state, 'temporal-ui');
  mkdirSync(folder, { recursive: true });
  const url = `http://127.0.0.1:${port}`;
  const config = {
    temporalGrpcAddress: temporalAddress,
    host: '127.0.0.1',
    port,
    enableUi: true,
    defaultNamespace: namespace,
    disableNewsFetch: true,
    refreshInterval: '1m',
    cors: { allowOrigins: [url], cookieInsecure: true },
    hideLogs: true,
  };
  writeFileSync(join(folder, 'local.yaml'), stringify(config));
  const ui = await supervisor.start({
    name: 'Temporal UI',
    command: program,
    args: ['--root', folder, '--config', '.', '--env', 'local', 'start'],
    cwd: folder,
    logFile: join(state, 'logs', 'temporal-ui.log'),
    ready: () => answersHttp(`${url}/healthz`),
  });
  return { url, process: ui };
}
