import type { Command } from 'commander';
import { stringify } from 'yaml';
import { promptText } from '../../domain/prompt/diff.ts';
import type { PromptVersion } from '../../domain/prompt/prompt.ts';
import { type DocumentKind, type Pushed, pathOf, pushFile } from '../files.ts';
import { type Output, table } from '../output.ts';
import { run } from './context.ts';

interface Listing {
  versions: { name: string; version: number; digest: string; createdBy: string; createdAt: string }[];
}

/** `slipway prompt …`, and the same for golden sets and guardrail configs. */
export function addDocumentCommands(program: Command): void {
  const prompt = addVersions(program, 'prompt', 'prompt versions', (output, version) =>
    output.line(promptText((version as PromptVersion).content)),
  );
  prompt
    .command('diff <from> <to>')
    .description('what another version changes')
    .action(
      run(async ({ api, output }, from: string, to: string) => {
        const path = `/v1/prompts/${encodeURIComponent(from)}/diff?to=${encodeURIComponent(to)}`;
        const { diff } = await api.call<{ diff: string }>('GET', path);
        output.result({ diff }, () => {
          for (const line of diff.split('\n').slice(0, -1)) output.line(coloured(output, line));
          if (diff === '') output.line(`${from} and ${to} say the same`);
        });
      }),
    );
  const asYaml = (output: Output, { content }: { content: unknown }) =>
    output.line(stringify(content).trimEnd());
  addVersions(program, 'golden-set', 'golden sets', asYaml);
  addVersions(program, 'guardrails', 'guardrail configs', asYaml);
}

function addVersions(
  program: Command,
  kind: DocumentKind,
  noun: string,
  show: (output: Output, version: { content: unknown }) => void,
): Command {
  const command = program.command(kind).description(`push and read ${noun}`);
  command
    .command('push <file...>')
    .description('push files; the same content again is the version that it was')
    .option('--name <name>', 'for a file that does not name itself')
    .action(
      run(async ({ api, output }, files: string[], { name }: { name?: string }) => {
        const pushed: Pushed[] = [];
        for (const file of files) {
          const version = await pushFile(api, kind, file, name);
          pushed.push(version);
          output.line(describePush(kind, version));
        }
        output.result(pushed, () => {});
      }),
    );
  command
    .command('list [name]')
    .description('versions, the newest of each name first')
    .action(
      run(async ({ api, output }, name: string | undefined) => {
        const query = name === undefined ? '' : `?name=${encodeURIComponent(name)}`;
        const { versions } = await api.call<Listing>('GET', `${pathOf(kind)}${query}`);
        output.result(versions, () => {
          const rows = versions.map((version) => [
            `${version.name}@${version.version}`,
            version.digest.slice(0, 19),
            version.createdBy,
            version.createdAt,
          ]);
          for (const line of table(['VERSION', 'DIGEST', 'BY', 'AT'], rows)) output.line(line);
        });
      }),
    );
  command
    .command('show <reference>')
    .description('one version, by name@n or digest')
    .action(
      run(async ({ api, output }, reference: string) => {
        const path = `${pathOf(kind)}/${encodeURIComponent(reference)}`;
        const version = await api.call<{ content: unknown }>('GET', path);
        output.result(version, () => show(output, version));
      }),
    );
  return command;
}

export function describePush(kind: DocumentKind, { name, version, digest, created }: Pushed): string {
  return `${kind} ${name}@${version} ${created ? 'pushed' : 'was there already'} (${digest.slice(0, 19)})`;
}

function coloured(output: Output, line: string): string {
  if (line.startsWith('+')) return output.style('green', line);
  if (line.startsWith('-')) return output.style('red', line);
  return line.startsWith('@@') ? output.style('cyan', line) : line;
}
