import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { startNodes } from '../../../simulator/nodes/nodes.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { temporaryFolder } from '../../support/stack.ts';
import { eventually, vllm, Workloads } from './support.ts';

const main = join(import.meta.dirname, '../../../simulator/nodes/main.ts');
/** Only pods that ask for it land on this test's node, also where tests share a control plane. */
const ONLY_HERE = { nodeSelector: { 'kubernetes.io/hostname': 'agent-1' } };

async function exitOf(agent: ChildProcess): Promise<[code: number | null, signal: NodeJS.Signals | null]> {
  if (agent.exitCode === null && agent.signalCode === null) await once(agent, 'exit');
  return [agent.exitCode, agent.signalCode];
}

const hasAddress = (address: string) =>
  Object.values(networkInterfaces()).some((list) => list?.some((each) => each.address === address));

describe('the node agent as a process', { skip: (await whyNoNodes()) ?? false }, () => {
  const folder = temporaryFolder();
  const agents: ChildProcess[] = [];
  let kubernetes: TestKubernetes;
  let work: Workloads;

  function startAgent(kubeconfig = kubernetes.kubeconfig): ChildProcess {
    const state = ['--state', join(folder.path, 'agent'), '--node', 'agent-1=1xA100-80GB'];
    const agent = spawn(process.execPath, [main, ...state, '--backoff-ms', '300', '--pull-ms', '0'], {
      env: { ...process.env, KUBECONFIG: kubeconfig, SIMULATOR_SPEED: '20' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    agents.push(agent);
    return agent;
  }

  before(async () => {
    kubernetes = await startKubernetes();
    work = new Workloads(kubernetes.admin, await kubernetes.createNamespace());
  });

  after(async () => {
    for (const agent of agents) {
      agent.kill('SIGTERM');
      await exitOf(agent);
    }
    await kubernetes?.stop();
    folder.remove();
  });

  it('leaves nothing behind when it is killed, and starts its pods again when it comes back', async () => {
    const agent = startAgent();
    await work.createPod('survivor', vllm(), ONLY_HERE);
    await eventually('the pod is ready', () => work.ready('survivor'));
    const address = (await work.pod('survivor')).status?.podIP ?? '';
    assert.ok(hasAddress(address));
    agent.kill('SIGKILL');
    await exitOf(agent);
    await eventually('the address is gone', async () => !hasAddress(address));
    // Something else may answer at an address that is nobody's here, but no vLLM does.
    const answer = await fetch(`http://${address}:8000/health`).catch(() => null);
    assert.notEqual(answer?.status, 200);

    startAgent();
    const status = await eventually('a new container', async () => {
      const found = await work.container('survivor');
      return found?.restartCount === 1 && found.ready && found;
    });
    assert.equal(status.lastState?.terminated?.exitCode, 137);
    assert.equal(status.lastState?.terminated?.reason, 'ContainerStatusUnknown');
    const pod = await work.pod('survivor');
    assert.equal((await fetch(`http://${pod.status?.podIP}:8000/health`)).status, 200);
  });

  it('refuses a second agent with its state folder', async () => {
    const stateFolder = join(folder.path, 'agent');
    const second = startNodes({ kubeConfig: kubernetes.admin, nodes: [], stateFolder });
    // If it starts all the same, it must not outlive the test.
    second.then(
      (nodes) => nodes.stop(),
      () => undefined,
    );
    await assert.rejects(second, {
      name: 'NodesError',
      message: `Another node agent runs with the state folder ${stateFolder}.`,
    });
  });

  it('ends in order on SIGTERM and takes its node along', async () => {
    const agent = agents.at(-1);
    assert.ok(agent);
    const address = (await work.pod('survivor')).status?.podIP ?? '';
    agent.kill('SIGTERM');
    assert.deepEqual(await exitOf(agent), [143, null]);
    assert.ok(!hasAddress(address));
    await assert.rejects(work.core.readNode({ name: 'agent-1' }), { code: 404 });
    await work.core.deleteNamespacedPod({
      name: 'survivor',
      namespace: work.namespace,
      gracePeriodSeconds: 0,
    });
  });

  it('waits for an API server, and ends in order while it waits', async () => {
    const config = new KubeConfig();
    const cluster = { name: 'nowhere', server: 'https://127.0.0.1:1', skipTLSVerify: true };
    config.loadFromClusterAndUser(cluster, { name: 'nobody' });
    const agent = startAgent(kubernetes.kubeconfigFile(config));
    let said = '';
    agent.stdout?.on('data', (data) => {
      said += String(data);
    });
    await eventually('it waits', async () => said.includes('waiting for the API server'));
    agent.kill('SIGTERM');
    assert.deepEqual(await exitOf(agent), [143, null]);
  });

  it('says what is wrong with its command line', async () => {
    const agent = spawn(process.execPath, [main, '--nodes', '3'], { stdio: ['ignore', 'ignore', 'pipe'] });
    const [said, [status]] = await Promise.all([text(agent.stderr), once(agent, 'exit')]);
    assert.equal(status, 1);
    assert.match(said, /Unknown option '--nodes'.*\nusage: /s);
  });
});
