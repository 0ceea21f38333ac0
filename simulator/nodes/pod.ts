import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { V1Container, V1Pod, V1PodStatus } from '@kubernetes/client-node';
import { passing } from './api.ts';
import { Container } from './container.ts';
import { type Lookups, missingVolume } from './environment.ts';
import { PodEvents } from './events.ts';
import { lookupsIn } from './lookups.ts';
import type { NodeContext } from './node-context.ts';
import { podStatus } from './pod-status.ts';
import { StatusWriter } from './status-writer.ts';

const RETRY_MS = 500;
const MOUNT_RETRY_MS = 2000;
/** For a pod whose object is gone: nobody waits for it. */
const ORPHAN_GRACE_MS = 2000;

/** A pod on a node, from the moment that it is bound until its object is gone. */
export class Pod {
  readonly uid: string;
  /** Settles when nothing of the pod is left here. */
  readonly gone: Promise<void>;
  #pod: V1Pod;
  #node: NodeContext;
  #events: PodEvents;
  #writer: StatusWriter;
  #lookups: Lookups;
  #folder: string;
  #startTime: Date;
  #address: string | undefined;
  #initContainers: Container[] = [];
  #containers: Container[] = [];
  #over = false;
  /** Aborted when the pod begins to end. */
  #ending = new AbortController();
  /** Aborted when nothing more is to be written. */
  #silent = new AbortController();
  #stopped: Promise<void> | undefined;
  #left: () => void = () => undefined;

  constructor(pod: V1Pod, node: NodeContext) {
    this.uid = pod.metadata?.uid ?? '';
    this.#pod = pod;
    this.#node = node;
    this.#events = new PodEvents(node.api, pod, node.name);
    this.#writer = new StatusWriter(
      node.api,
      pod,
      () => this.#status(),
      this.#silent.signal,
      (error) => node.logger.warn({ err: error, pod: pod.metadata?.name }, "the pod's status was refused"),
    );
    this.#lookups = lookupsIn(pod.metadata?.namespace ?? '', node.api);
    this.#folder = join(node.podsFolder, this.uid);
    this.#startTime = pod.status?.startTime === undefined ? new Date() : new Date(pod.status.startTime);
    this.gone = new Promise((resolve) => {
      this.#left = resolve;
    });
    if (pod.metadata?.deletionTimestamp !== undefined) void this.#terminate(pod);
    else if (!finished(pod)) void this.#start();
  }

  get name(): string {
    return this.#pod.metadata?.name ?? '';
  }

  get namespace(): string {
    return this.#pod.metadata?.namespace ?? '';
  }

  container(name: string): Container | undefined {
    return [...this.#containers, ...this.#initContainers].find(({ spec }) => spec.name === name);
  }

  /** The pod's object is another one than before. */
  update(pod: V1Pod): void {
    this.#pod = pod;
    if (pod.metadata?.deletionTimestamp !== undefined) void this.#terminate(pod);
    else if (readiness(pod) !== readiness({ status: this.#writer.last ?? {} }) && this.#writer.last) {
      this.#writer.forget();
      void this.#writer.write();
    }
  }

  /** The pod's object is gone: deleted by force, or with its namespace. */
  async removed(): Promise<void> {
    this.#silent.abort();
    await this.#stop(ORPHAN_GRACE_MS);
    await this.#leave();
  }

  /** The agent ends, the object stays. */
  async abandon(graceMs: number): Promise<void> {
    this.#silent.abort();
    await this.#stop(graceMs);
    if (this.#address !== undefined) await this.#node.addresses.give(this.#address);
  }

  async #start(): Promise<void> {
    try {
      const { initContainers = [], containers = [] } = this.#pod.spec ?? {};
      await this.#mount();
      const address = await this.#node.addresses.take();
      this.#address = address;
      this.#initContainers = initContainers.map((spec) => this.#container(spec, address, 'initContainers'));
      this.#containers = containers.map((spec) => this.#container(spec, address, 'containers'));
      if (initContainers.length > 0) {
        for (const { status } of this.#containers) status.state = { waiting: { reason: 'PodInitializing' } };
      }
      void this.#writer.write();
      for (const container of this.#initContainers) {
        if (this.#ending.signal.aborted) return;
        await container.run();
        if (container.status.state?.terminated?.exitCode !== 0) return;
      }
      if (this.#ending.signal.aborted) return;
      await Promise.all(this.#containers.map((container) => container.run()));
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.#node.logger.error({ err: error, pod: this.name }, 'the pod cannot be run');
      this.#events.record('Warning', 'FailedCreatePodSandBox', String((error as Error).message));
    }
  }

  async #mount(): Promise<void> {
    for (;;) {
      const missing = await missingVolume(this.#pod, this.#lookups).catch((error) => {
        if (passing(error)) return null;
        throw error;
      });
      if (missing === undefined) return;
      if (missing !== null) this.#events.record('Warning', 'FailedMount', missing);
      await delay(MOUNT_RETRY_MS, undefined, { signal: this.#ending.signal });
    }
  }

  #container(spec: V1Container, podIP: string, kind: 'initContainers' | 'containers'): Container {
    const { status } = this.#pod;
    const statuses = kind === 'containers' ? status?.containerStatuses : status?.initContainerStatuses;
    const policy = this.#pod.spec?.restartPolicy ?? 'Always';
    return new Container(
      spec,
      {
        node: this.#node,
        pod: this.#pod,
        podIP,
        lookups: this.#lookups,
        folder: join(this.#folder, spec.name),
        restarts: (exitCode) =>
          exitCode === 0 ? kind === 'containers' && policy === 'Always' : policy !== 'Never',
        record: (type, reason, message) =>
          this.#events.record(type, reason, message, `spec.${kind}{${spec.name}}`),
        changed: () => void this.#writer.write(),
      },
      statuses?.find(({ name }) => name === spec.name),
    );
  }

  /** Runs once; a later call with a shorter grace shortens it. */
  async #terminate(pod: V1Pod): Promise<void> {
    const graceMs = (pod.metadata?.deletionGracePeriodSeconds ?? 30) * 1000;
    const first = this.#stopped === undefined;
    await this.#stop(graceMs);
    if (!first) return;
    await this.#writer.write();
    await this.#events.written();
    await this.#delete();
    this.#silent.abort();
    await this.#leave();
  }

  #stop(graceMs: number): Promise<void> {
    if (this.#stopped !== undefined) {
      const all = [...this.#initContainers, ...this.#containers];
      const killAll = () => {
        for (const container of all) container.kill();
      };
      setTimeout(killAll, graceMs).unref();
    }
    this.#stopped ??= this.#stopContainers(graceMs);
    return this.#stopped;
  }

  async #stopContainers(graceMs: number): Promise<void> {
    this.#ending.abort();
    await Promise.all([...this.#initContainers, ...this.#containers].map((each) => each.stop(graceMs)));
    this.#over = true;
  }

  async #delete(): Promise<void> {
    const body = { gracePeriodSeconds: 0, preconditions: { uid: this.uid } };
    while (!this.#silent.signal.aborted) {
      try {
        await this.#node.api.core.deleteNamespacedPod({ name: this.name, namespace: this.namespace, body });
        return;
      } catch (error) {
        if (!passing(error)) return;
        await delay(RETRY_MS, undefined, { signal: this.#silent.signal }).catch(() => undefined);
      }
    }
  }

  async #leave(): Promise<void> {
    const address = this.#address;
    this.#address = undefined;
    if (address !== undefined) await this.#node.addresses.give(address);
    rmSync(this.#folder, { recursive: true, force: true });
    this.#left();
  }

  #status(): V1PodStatus {
    return podStatus({
      pod: this.#pod,
      initContainers: this.#initContainers.map(({ status }) => status),
      containers: this.#containers.map(({ status }) => status),
      podIP: this.#address,
      hostIP: this.#node.address,
      startTime: this.#startTime,
      conditions: this.#writer.last?.conditions ?? this.#pod.status?.conditions ?? [],
      over: this.#over,
      now: new Date(),
    });
  }
}

function finished({ status }: V1Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

function readiness({ status }: Pick<V1Pod, 'status'>): string | undefined {
  return status?.conditions?.find(({ type }) => type === 'Ready')?.status;
}
