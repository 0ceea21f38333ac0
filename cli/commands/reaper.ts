import type { Command } from 'commander';
import { counted } from '../../domain/counted.ts';
import { type Output, table } from '../output.ts';
import { run } from './context.ts';

interface Serving {
  name: string;
  known: boolean;
  application: string | null;
  release: string | null;
  gpus: number;
  since: string;
  gpuHours: number;
}

interface Report {
  lastRun: { at: string; dryRun: boolean; graceMs: number } | null;
  unneeded: (Serving & { dueAt: string | null })[];
  over: (Serving & { endedAt: string; ending: string })[];
}

/** `slipway reaper report` */
export function addReaperCommands(program: Command): void {
  program
    .command('reaper')
    .description('servings that nobody needs; temporal.yaml says how often it looks and whether it removes')
    .command('report')
    .description('what holds GPUs for nothing, and what was removed')
    .action(
      run(async ({ api, output }) => {
        const report = await api.call<Report>('GET', '/v1/reaper');
        output.result(report, () => showReport(output, report));
      }),
    );
}

function showReport(output: Output, { lastRun, unneeded, over }: Report): void {
  if (lastRun === null) {
    output.line(
      'The reaper has not run yet. Its first run is due within reaper.every of temporal.yaml (10m unless changed)',
    );
    output.line('after slipway temporal apply made its schedule, and needs a worker.');
    return;
  }
  const mode = lastRun.dryRun ? 'a dry run: nothing is removed' : 'what is due is removed';
  output.line(`Last run ${time(lastRun.at)}, ${mode}.`);
  const hours = unneeded.reduce((sum, serving) => sum + serving.gpuHours, 0);
  const gpus = unneeded.reduce((sum, serving) => sum + serving.gpus, 0);
  output.line(
    unneeded.length === 0
      ? 'Every serving is needed by a route or an active release.'
      : `${counted(gpus, 'GPU')} ${gpus === 1 ? 'is' : 'are'} held by servings that nobody needs; ${hours.toFixed(1)} GPU hours so far.`,
  );
  if (unneeded.length > 0) {
    output.line();
    const rows = unneeded.map((serving) => [
      ...cells(serving),
      serving.dueAt === null ? '' : time(serving.dueAt),
    ]);
    for (const line of table([...header, 'DUE'], rows)) output.line(line);
  }
  if (over.length > 0) {
    output.line();
    const rows = over.map((serving) => [...cells(serving), `${serving.ending} ${time(serving.endedAt)}`]);
    for (const line of table([...header, 'OVER'], rows)) output.line(line);
  }
}

const header = ['SERVING', 'GPUS', 'GPU HOURS', 'UNNEEDED SINCE', 'FIRST ASKED FOR BY'];

function cells({ name, known, release, gpus, since, gpuHours }: Serving): string[] {
  const origin = release ?? (known ? '(not recorded)' : '(unknown to the store)');
  return [name, String(gpus), gpuHours.toFixed(1), time(since), origin];
}

const time = (at: string): string => at.slice(0, 19).replace('T', ' ');
