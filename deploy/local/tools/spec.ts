/** The programs that the local stack and the tests need and cannot get from the npm registry, pinned. */

export interface ReleaseAsset {
  /** Address of the archive (.tar.gz), or of the program itself. */
  archive: string;
  /** Address of the file with `SHA-256  NAME` lines, or with the SHA-256 alone, that the project publishes beside it. */
  checksums: string;
}

export interface Tool {
  name: string;
  version: string;
  /** Names under which the program may be on PATH. */
  commands: readonly string[];
  /** What makes the program print its version; `--version` when not given. */
  versionArgs?: readonly string[];
  /** True for what the program prints when it is a version that Slipway can use. */
  accepts: (versionOutput: string) => boolean;
  /** Name of the program inside the release archive. */
  archived: string;
  release: (os: string, arch: string) => ReleaseAsset;
  /** Folder in deploy/tools whose go.mod and go.sum pin every dependency; the tool's name when not given. */
  module?: string;
  /** Package to build in that folder. */
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

/** What every local stack and every integration test needs. */
export const stackTools: readonly Tool[] = [temporalServer, temporalUi, prometheus];

export const etcd: Tool = {
  name: 'etcd',
  version: '3.6.5',
  commands: ['etcd'],
  accepts: atLeast(3, 6), // what Kubernetes 1.34 is tested with
  archived: 'etcd',
  release: (os, arch) => {
    const base = `${GITHUB}/etcd-io/etcd/releases/download/v3.6.5`;
    return { archive: `${base}/etcd-v3.6.5-${os}-${arch}.tar.gz`, checksums: `${base}/SHA256SUMS` };
  },
  goPackage: 'go.etcd.io/etcd/server/v3',
  goFlags: [STRIP],
};

const KUBERNETES_VERSION = '1.34.4';

/** Without these an API server says v0.0.0, and its clients judge by it what it can do. */
const KUBERNETES_STAMP = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version']
  .flatMap((variables) => [
    `-X ${variables}.gitVersion=v${KUBERNETES_VERSION}`,
    `-X ${variables}.gitMajor=1`,
    `-X ${variables}.gitMinor=34`,
    `-X ${variables}.gitTreeState=clean`,
  ])
  .join(' ');

function partOfKubernetes(name: string): Tool {
  return {
    name,
    version: KUBERNETES_VERSION,
    commands: [name],
    accepts: atLeast(1, 34),
    archived: name,
    release: (os, arch) => {
      const archive = `https://dl.k8s.io/release/v${KUBERNETES_VERSION}/bin/${os}/${arch}/${name}`;
      return { archive, checksums: `${archive}.sha256` };
    },
    module: 'kubernetes', // one for all, so that a later build finds most packages compiled
    goPackage: `k8s.io/kubernetes/cmd/${name}`,
    goFlags: [`${STRIP} ${KUBERNETES_STAMP}`],
  };
}

export const kubeApiserver: Tool = partOfKubernetes('kube-apiserver');
export const kubeControllerManager: Tool = partOfKubernetes('kube-controller-manager');
export const kubeScheduler: Tool = partOfKubernetes('kube-scheduler');

/** A Kubernetes control plane, for whoever wants a local one. */
export const kubernetesTools: readonly Tool[] = [etcd, kubeApiserver, kubeControllerManager, kubeScheduler];

/** Renders the chart in deploy/helm for the tests. */
export const helm: Tool = {
  name: 'helm',
  version: '3.19.0',
  commands: ['helm'],
  versionArgs: ['version'],
  accepts: atLeast(3, 19),
  archived: 'helm',
  release: (os, arch) => {
    const archive = `https://get.helm.sh/helm-v3.19.0-${os}-${arch}.tar.gz`;
    return { archive, checksums: `${archive}.sha256sum` };
  },
  goPackage: 'helm.sh/helm/v3/cmd/helm',
  goFlags: [
    `${STRIP} -X helm.sh/helm/v3/internal/version.version=v3.19.0` +
      // The Kubernetes version that a template sees without a cluster.
      ['chartutil', 'lint/rules']
        .map((pkg) => `helm.sh/helm/v3/pkg/${pkg}.k8sVersion`)
        .map((variable) => ` -X ${variable}Major=1 -X ${variable}Minor=34`)
        .join(''),
  ],
};

export const allTools: readonly Tool[] = [...stackTools, ...kubernetesTools, helm];
