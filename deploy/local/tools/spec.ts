/** The programs that the local stack needs and cannot get from the npm registry, pinned. */

export interface ReleaseAsset {
  /** Address of the archive (.tar.gz). */
  archive: string;
  /** Address of the file with `SHA-256  NAME` lines that the project publishes beside it. */
  checksums: string;
}

export interface Tool {
  name: string;
  version: string;
  /** Names under which the program may be on PATH. */
  commands: readonly string[];
  /** True for what `--version` prints of a program that Slipway can use. */
  accepts: (versionOutput: string) => boolean;
  /** Name of the program inside the release archive. */
  archived: string;
  release: (os: string, arch: string) => ReleaseAsset;
  /** Package to build in deploy/tools/<name>, whose go.mod and go.sum pin every dependency. */
  goPackage: string;
  goFlags: readonly string[];
}

/** Leaves the tables for debuggers out: a third of the size. */
const STRIP = '-ldflags=-s -w';

const GITHUB = 'https://github.com';

/** Accepts the first `N.N.N` in the output from the given minor version on, within the same major version. */
function atLeast(major: number, minor: number): (output: string) => boolean {
  return (output) => {
    const found = /(\d+)\.(\d+)\.\d+/.exec(output);
    return found !== null && Number(found[1]) === major && Number(found[2]) >= minor;
  };
}

export const temporalServer: Tool = {
  name: 'temporal-server',
  version: '1.32.1',
  commands: ['temporal-server'],
  accepts: atLeast(1, 32), // skipping time per workflow came with 1.32
  archived: 'temporal-server',
  release: (os, arch) => {
    const base = `${GITHUB}/temporalio/temporal/releases/download/v1.32.1`;
    return { archive: `${base}/temporal_1.32.1_${os}_${arch}.tar.gz`, checksums: `${base}/checksums.txt` };
  },
  goPackage: 'go.temporal.io/server/cmd/server',
  goFlags: [STRIP],
};

export const temporalUi: Tool = {
  name: 'temporal-ui',
  version: '2.54.1',
  commands: ['temporal-ui-server', 'ui-server'],
  accepts: (output) => /temporal ui/i.test(output) && atLeast(2, 40)(output),
  archived: 'ui-server',
  release: (os, arch) => {
    const base = `${GITHUB}/temporalio/ui-server/releases/download/v2.54.1`;
    return {
      archive: `${base}/ui-server_2.54.1_${os}_${arch}.tar.gz`,
      checksums: `${base}/ui-server_2.54.1_checksums.txt`,
    };
  },
  goPackage: 'github.com/temporalio/ui-server/v2/cmd/server',
  goFlags: [STRIP],
};

export const prometheus: Tool = {
  name: 'prometheus',
  version: '3.13.5',
  commands: ['prometheus'],
  accepts: atLeast(3, 0),
  archived: 'prometheus',
  release: (os, arch) => {
    const base = `${GITHUB}/prometheus/prometheus/releases/download/v3.13.5`;
    return { archive: `${base}/prometheus-3.13.5.${os}-${arch}.tar.gz`, checksums: `${base}/sha256sums.txt` };
  },
  goPackage: 'github.com/prometheus/prometheus/cmd/prometheus',
  goFlags: [
    '-tags=remove_all_sd', // keeps static, file and http discovery, and halves the build
    `${STRIP} -X github.com/prometheus/common/version.Version=3.13.5`,
  ],
};

export const allTools: readonly Tool[] = [temporalServer, temporalUi, prometheus];
