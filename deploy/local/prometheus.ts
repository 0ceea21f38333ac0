import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { formatDuration } from '../../domain/duration.ts';
import { answersHttp } from './probe.ts';
import type { ManagedProcess, Supervisor } from './processes.ts';

/** What Prometheus scrapes, in the format of its file discovery. */
export interface TargetGroup {
  /** `HOST:PORT`; the path is /metrics. */
  targets: readonly string[];
  /** Labels of every series from these targets, e.g. `{ job: 'gateway' }`. */
  labels: Readonly<Record<string, string>>;
}

export interface PrometheusOptions {
  supervisor: Supervisor;
  program: string;
  /** Folder that keeps the series, the generated config and the log. */
  state: string;
  port: number;
  scrapeIntervalMs?: number;
  targets?: readonly TargetGroup[];
}

export interface LocalPrometheus {
  url: string;
  process: ManagedProcess;
  /** Folder whose *.json files name the targets: whoever starts and stops servings may keep a file of their own in it. */
  targetsFolder: string;
  /** Replaces the targets named here; Prometheus takes them up by itself within a second or so. */
  setTargets: (targets: readonly TargetGroup[]) => void;
}

/** Replaces a targets file at once, so that Prometheus never reads half of it. */
export function writeTargets(file: string, targets: readonly TargetGroup[]): void {
  const next = `${file}.next`; // not *.json, so not read
  writeFileSync(next, `${JSON.stringify(targets, null, 2)}\n`);
  renameSync(next, file);
}

function scrapeConfig(targetsFolder: string, scrapeIntervalMs: number): object {
  return {
    global: {
      scrape_interval: formatDuration(scrapeIntervalMs),
      scrape_timeout: formatDuration(scrapeIntervalMs),
      evaluation_interval: formatDuration(scrapeIntervalMs),
    },
    scrape_configs: [
      {
        job_name: 'slipway',
        file_sd_configs: [{ files: [join(targetsFolder, '*.json')], refresh_interval: '1s' }],
      },
    ],
  };
}

/** Starts Prometheus on a data folder that survives, with targets that can change while it runs. */
export async function startLocalPrometheus(options: PrometheusOptions): Promise<LocalPrometheus> {
  const { supervisor, program, state, port, scrapeIntervalMs = 1000, targets = [] } = options;
  const targetsFolder = join(state, 'prometheus-targets');
  mkdirSync(targetsFolder, { recursive: true });
  const setTargets = (groups: readonly TargetGroup[]): void =>
    writeTargets(join(targetsFolder, 'stack.json'), groups);
  setTargets(targets);
  const configFile = join(state, 'prometheus.yaml');
  writeFileSync(configFile, stringify(scrapeConfig(targetsFolder, scrapeIntervalMs)));
  const url = `http://127.0.0.1:${port}`;
  const prometheus = await supervisor.start({
    name: 'Prometheus',
    command: program,
    args: [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${join(state, 'prometheus')}`,
      '--storage.tsdb.retention.time=30d',
      `--web.listen-address=127.0.0.1:${port}`,
      // The default holds new targets back for 5 s, too long for servings that live a minute.
      '--scrape.discovery-reload-interval=200ms',
      '--web.enable-lifecycle',
      '--log.level=warn',
    ],
    cwd: state,
    logFile: join(state, 'logs', 'prometheus.log'),
    ready: () => answersHttp(`${url}/-/ready`),
  });
  return { url, process: prometheus, targetsFolder, setTargets };
}
