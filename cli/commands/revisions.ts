import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { KubernetesObject } from '../../domain/kubernetes/objects.ts';
import { manifestYaml } from '../../domain/kubernetes/yaml.ts';
import type { ApiClient } from '../client.ts';
import { UsageError } from '../exit.ts';
import { servingRequest } from '../files.ts';
import { run } from './context.ts';

interface Manifests {
  serving: string;
  name: string;
  settings: 'cluster' | 'default';
  notes: string[];
  objects: KubernetesObject[];
}

interface RenderOptions {
  file?: string;
  outDir?: string;
}

/** `slipway revision …` */
export function addRevisionCommands(program: Command): void {
  program
    .command('revision')
    .description('what serves')
    .command('render [revision]')
    .description("the Kubernetes objects of a revision's serving as YAML, to be reviewed; nothing is applied")
    .option('-f, --file <file>', 'of what this release file would make, in the place of a revision')
    .option('--out-dir <folder>', 'write one file an object there')
    .action(
      run(async ({ api, output }, revision: string | undefined, { file, outDir }: RenderOptions) => {
        const manifests = await manifestsOf(api, revision, file);
        const comment = manifests.notes.map((note) => `# ${note}\n`).join('');
        const written = outDir === undefined ? [] : await write(outDir, comment, manifests);
        output.result(manifests, () => {
          if (outDir === undefined) output.line(`${comment}${manifestYaml(manifests.objects)}`.trimEnd());
          for (const path of written) output.line(path);
        });
      }),
    );
}

async function manifestsOf(
  api: ApiClient,
  revision: string | undefined,
  file: string | undefined,
): Promise<Manifests> {
  if (revision !== undefined && file === undefined) {
    return api.call<Manifests>('GET', `/v1/revisions/${encodeURIComponent(revision)}/manifests`);
  }
  if (revision === undefined && file !== undefined) {
    return api.call<Manifests>('POST', '/v1/manifests', await servingRequest(file));
  }
  throw new UsageError('name a revision by its digest, or a release file with --file: one of both');
}

async function write(folder: string, comment: string, { name, objects }: Manifests): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  return Promise.all(
    objects.map(async (object) => {
      const path = join(folder, `${name}-${object.kind.toLowerCase()}.yaml`);
      await writeFile(path, `${comment}${manifestYaml([object])}`);
      return path;
    }),
  );
}
