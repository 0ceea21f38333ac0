import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { UsageError } from '../exit.ts';
import { table } from '../output.ts';
import { run } from './context.ts';

interface KeySummary {
  id: string;
  kind: string;
  name: string;
  role: string | null;
  createdAt: string;
  revokedAt: string | null;
}

/** `slipway up`, `slipway temporal …`, `slipway key …` */
export function addSystemCommands(program: Command): void {
  program
    .command('up')
    .description(
      'bring up the local stack, on the state that it was left in; npm start runs the example besides',
    )
    .option(
      '--kubernetes',
      'servings on Kubernetes: that of KUBECONFIG, or one here with simulated GPU nodes',
    )
    .action(async ({ kubernetes }: { kubernetes?: boolean }) => {
      const start = fileURLToPath(new URL('../../deploy/local/start.ts', import.meta.url));
      const options = kubernetes ? ['--kubernetes'] : [];
      const stack = spawn(process.execPath, [start, '--stack', ...options], { stdio: 'inherit' });
      // Ctrl-C reaches the whole group: the stack ends itself, and this waits for it.
      process.on('SIGINT', () => {});
      process.on('SIGTERM', () => stack.kill('SIGTERM'));
      const [code] = (await once(stack, 'exit')) as [number | null];
      process.exitCode = code ?? 1;
    });

  const temporal = program
    .command('temporal')
    .description('the Temporal cluster of the environment (TEMPORAL_ADDRESS, temporal.toml)');
  temporal
    .command('apply')
    .description('make the cluster match temporal.yaml, and say what cannot be set')
    .option('-f, --file <file>', 'another topology than the own temporal.yaml')
    .action(
      run(async ({ output }, { file }: { file?: string }) => {
        const { applyTemporal } = await import('../../deploy/temporal/apply.ts');
        const report = await applyTemporal(file);
        output.result(report, () => {
          for (const change of report.changed) output.line(`changed  ${change}`);
          for (const { field, why, remedy } of report.notSet)
            output.line(`not set  ${field}: ${why}. ${remedy}`);
          if (report.changed.length === 0) output.line('nothing to change');
        });
      }),
    );

  temporal
    .command('set-current')
    .argument('<build>', 'SLIPWAY_BUILD_ID of the workers')
    .description('let new releases begin on the workers of this build; those under way stay on theirs')
    .option('--within <seconds>', 'how long to wait for a worker of it', '300')
    .action(
      run(async ({ output }, build: string, { within }: { within: string }) => {
        const seconds = Number(within);
        if (!(seconds > 0 && Number.isFinite(seconds)))
          throw new UsageError(`--within is not a number of seconds above 0: ${within}`);
        const { setCurrentBuild } = await import('../../deploy/temporal/apply.ts');
        await setCurrentBuild(build, seconds * 1000);
        output.result({ build }, () => output.line(`new releases begin on build ${build}`));
      }),
    );

  const key = program.command('key').description('keys of the API and of the gateway; for admins');
  key
    .command('create')
    .description('make a key: for a person with a role, or for a tenant of the gateway')
    .option('--name <name>', 'who holds it')
    .option('--role <role>', 'engineer, approver, auditor or admin')
    .option('--tenant <tenant>', 'instead of name and role')
    .action(
      run(async ({ api, output }, options: { name?: string; role?: string; tenant?: string }) => {
        const { tenant } = options;
        const made = await api.call<{ id: string; key: string }>(
          'POST',
          '/v1/keys',
          tenant === undefined ? { kind: 'control', ...options } : { kind: 'tenant', tenant },
        );
        output.result(made, () => output.line(`${made.key}   (id ${made.id}; it is shown this once)`));
      }),
    );
  key
    .command('list')
    .description('all keys, without what lets one in')
    .action(
      run(async ({ api, output }) => {
        const { keys } = await api.call<{ keys: KeySummary[] }>('GET', '/v1/keys');
        output.result(keys, () => {
          const rows = keys.map((k) => [k.id, k.kind, k.name, k.role ?? '', k.createdAt, k.revokedAt ?? '']);
          for (const line of table(['ID', 'KIND', 'NAME', 'ROLE', 'MADE', 'REVOKED'], rows))
            output.line(line);
        });
      }),
    );
  key
    .command('revoke <id>')
    .description('revoke a key, at once')
    .action(
      run(async ({ api, output }, id: string) => {
        await api.call('DELETE', `/v1/keys/${encodeURIComponent(id)}`);
        output.result({ id, revoked: true }, () => output.line(`key ${id} is revoked`));
      }),
    );
}
