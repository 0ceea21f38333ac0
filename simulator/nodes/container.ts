import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  V1Container,
  V1ContainerState,
  V1ContainerStatus,
  V1Pod,
  V1Probe,
} from '@kubernetes/client-node';
import { passing, statusOf } from './api.ts';
import { doubled, goDuration, nextWait } from './backoff.ts';
import { boundTo, CommandNotFound, vllmArguments } from './command.ts';
import { endProcess } from './ending.ts';
import { ConfigError, type Lookups, resolvedEnvironment } from './environment.ts';
import type { EventType } from './events.ts';
import { gpuMemoryGiB } from './gpu.ts';
import { notFound, pullsAlways } from './images.ts';
import { MARK } from './kill.ts';
import { logTail } from './log-file.ts';
import type { NodeContext } from './node-context.ts';
import { httpGet, probeOnce } from './probe-once.ts';
import { keepProbing } from './probing.ts';
import { ContainerProcess, type Exit } from './process.ts';
import { quantity } from './quantity.ts';

/** What a container needs of the pod that it is in. */
export interface ContainerContext {
  node: NodeContext;
  pod: V1Pod;
  podIP: string;
  lookups: Lookups;
  /** Holds the container's logs. */
  folder: string;
  restarts(exitCode: number): boolean;
  record(type: EventType, reason: string, message: string): void;
  /** The status is another one. */
  changed(): void;
}

const API_RETRY_MS = 1000;
/** What a kubelet takes of a failed container's log as its message. */
const MESSAGE_LINES = 80;
const MESSAGE_BYTES = 2048;

/** One container's life: pulled, configured, started, probed, and started again after waits, until it is stopped. */
export class Container {
  readonly spec: V1Container;
  status: V1ContainerStatus;
  #context: ContainerContext;
  #ending = new AbortController();
  #process: ContainerProcess | undefined;
  #running: Promise<void> | undefined;

  /** `before` is what the API knows of it from before a restart of the agent. */
  constructor(spec: V1Container, context: ContainerContext, before: V1ContainerStatus | undefined) {
    this.spec = spec;
    this.#context = context;
    const last = before?.state?.terminated ?? lost(before) ?? before?.lastState?.terminated;
    this.status = {
      name: spec.name,
      image: spec.image ?? '',
      imageID: before?.imageID ?? '',
      ready: false,
      started: false,
      restartCount: before?.restartCount ?? 0,
      state: { waiting: { reason: 'ContainerCreating' } },
      ...(last === undefined ? {} : { lastState: { terminated: last } }),
    };
    mkdirSync(context.folder, { recursive: true });
  }

  /** The log of the current run, or of the one before it. */
  logFile(previous: boolean): string {
    return join(this.#context.folder, `${this.status.restartCount - (previous ? 1 : 0)}.log`);
  }

  /** Settles when the container is over: stopped, or ended and not to be started again. */
  run(): Promise<void> {
    this.#running ??= this.#live().catch((error) => {
      if (!this.#ending.signal.aborted) throw error;
    });
    return this.#running;
  }

  /** Ends the container for good, within the grace. */
  async stop(graceMs: number): Promise<void> {
    this.#ending.abort();
    if (this.#process?.running) {
      this.#context.record('Normal', 'Killing', `Stopping container ${this.spec.name}`);
      await this.#end(this.#process, graceMs);
    }
    await this.#running;
  }

  /** Kills the process: the grace became shorter, or nobody waits for it. */
  kill(): void {
    this.#ending.abort();
    this.#process?.signal('SIGKILL');
  }

  async #live(): Promise<void> {
    let wait: number | undefined;
    for (;;) {
      await this.#pull();
      const environment = await this.#environment();
      const begun = performance.now();
      const exitCode = await this.#runOnce(environment);
      if (this.#ending.signal.aborted || !this.#context.restarts(exitCode)) return;
      wait = nextWait(wait, performance.now() - begun, this.#context.node.backoff);
      if (wait > 0) await this.#backOff(wait);
    }
  }

  async #pull(): Promise<void> {
    const { node, record } = this.#context;
    const { image = '', imagePullPolicy } = this.spec;
    if (node.pulled.has(image) && !pullsAlways(image, imagePullPolicy)) {
      record('Normal', 'Pulled', `Container image "${image}" already present on machine`);
      this.#set({ imageID: image });
      return;
    }
    let wait = 0;
    for (;;) {
      record('Normal', 'Pulling', `Pulling image "${image}"`);
      await this.#pause(node.pullMs);
      if (node.images.some((pattern) => pattern.test(image))) {
        const took = goDuration(node.pullMs);
        record(
          'Normal',
          'Pulled',
          `Successfully pulled image "${image}" in ${took} (${took} including waiting).`,
        );
        node.pulled.add(image);
        this.#set({ imageID: image });
        return;
      }
      const why = notFound(image);
      record('Warning', 'Failed', `Failed to pull image "${image}": ${why}`);
      record('Warning', 'Failed', 'Error: ErrImagePull');
      this.#wait('ErrImagePull', why);
      wait = doubled(wait, node.backoff);
      await this.#pause(wait / 2);
      record('Normal', 'BackOff', `Back-off pulling image "${image}"`);
      record('Warning', 'Failed', 'Error: ImagePullBackOff');
      this.#wait('ImagePullBackOff', `Back-off pulling image "${image}": ErrImagePull: ${why}`);
      await this.#pause(wait / 2);
    }
  }

  /** The resolved variables; waits for as long as something that they refer to is missing. */
  async #environment(): Promise<Record<string, string>> {
    const { node, pod, podIP, lookups, record } = this.#context;
    for (;;) {
      try {
        return await resolvedEnvironment(this.spec, pod, { podIP, hostIP: node.address }, lookups);
      } catch (error) {
        if (error instanceof ConfigError) {
          record('Warning', 'Failed', `Error: ${error.message}`);
          this.#wait('CreateContainerConfigError', error.message);
          await this.#pause(node.backoff.baseMs);
        } else if (passing(error) || statusOf(error) === 403) {
          await this.#pause(API_RETRY_MS);
        } else throw error;
      }
    }
  }

  async #runOnce(own: Record<string, string>): Promise<number> {
    const { node, podIP, pod, record } = this.#context;
    const { name } = this.spec;
    this.#ending.signal.throwIfAborted();
    const containerID = `simulator://${randomBytes(32).toString('hex')}`;
    const last = this.status.state?.terminated ?? this.status.lastState?.terminated;
    if (last !== undefined) this.#set({ restartCount: this.status.restartCount + 1 });
    rmSync(join(this.#context.folder, `${this.status.restartCount - 2}.log`), { force: true });
    const environment = {
      PATH: process.env.PATH ?? '',
      HOME: this.#context.folder,
      HOSTNAME: pod.metadata?.name ?? '',
      ...machine(this.spec, node.gpuProduct),
      ...node.environment,
      ...own,
      [MARK]: node.groups.mark,
    };
    const startedAt = new Date();
    record('Normal', 'Created', `Created container: ${name}`);
    try {
      const [command = '', ...first] = node.program;
      const args = [...first, ...boundTo(vllmArguments(this.spec, own), podIP)];
      const spec = {
        command,
        args,
        env: environment,
        cwd: this.#context.folder,
        logFile: this.logFile(false),
      };
      this.#process = await ContainerProcess.start(spec, node.groups);
    } catch (error) {
      const message =
        error instanceof CommandNotFound
          ? `failed to create containerd task: failed to create shim task: OCI runtime create failed: ${error.message}`
          : String((error as Error).message);
      record('Warning', 'Failed', `Error: failed to start container "${name}": ${message}`);
      this.#ended({ exitCode: 128, reason: 'StartError', message, containerID, startedAt });
      return 128;
    }
    record('Normal', 'Started', `Started container ${name}`);
    this.#set({
      state: { running: { startedAt } },
      ...(last === undefined ? {} : { lastState: { terminated: last } }),
      containerID,
      started: this.spec.startupProbe === undefined,
      ready: this.spec.startupProbe === undefined && this.spec.readinessProbe === undefined,
    });
    const started = this.#process;
    const probing = new AbortController();
    this.#probe(started, probing.signal);
    if (this.#ending.signal.aborted) started.signal('SIGKILL');
    const exit = await started.exited;
    probing.abort();
    this.#ended({
      exitCode: exit.code,
      reason: reasonOf(exit),
      containerID,
      startedAt,
      ...this.#message(exit),
    });
    return exit.code;
  }

  #message({ code }: Exit): { message?: string } {
    if (code === 0 || this.spec.terminationMessagePolicy !== 'FallbackToLogsOnError') return {};
    return { message: logTail(this.logFile(false), MESSAGE_LINES, MESSAGE_BYTES) };
  }

  #ended(terminated: NonNullable<V1ContainerState['terminated']>): void {
    this.#set({
      state: { terminated: { ...terminated, finishedAt: new Date() } },
      ...(terminated.containerID === undefined ? {} : { containerID: terminated.containerID }),
      ready: false,
      started: false,
    });
  }

  async #backOff(ms: number): Promise<void> {
    const { name = '', namespace = '', uid = '' } = this.#context.pod.metadata ?? {};
    const pod = `${name}_${namespace}(${uid})`;
    const message = `Back-off restarting failed container ${this.spec.name} in pod ${pod}`;
    this.#context.record('Warning', 'BackOff', message);
    const said = `back-off ${goDuration(ms)} restarting failed container=${this.spec.name} pod=${pod}`;
    this.#wait('CrashLoopBackOff', said);
    await this.#pause(ms);
  }

  /** Begins with the startup probe; the others follow when it has passed. */
  #probe(started: ContainerProcess, signal: AbortSignal): void {
    const { startupProbe, readinessProbe, livenessProbe } = this.spec;
    const others = () => {
      if (readinessProbe === undefined) this.#set({ started: true, ready: true });
      else {
        this.#set({ started: true });
        this.#keep('Readiness', readinessProbe, signal, (passed) => this.#set({ ready: passed }));
      }
      if (livenessProbe) {
        this.#keep('Liveness', livenessProbe, signal, (passed) => {
          if (!passed) void this.#restart(started, livenessProbe, 'liveness');
        });
      }
    };
    if (startupProbe === undefined) {
      others();
      return;
    }
    const passed = new AbortController();
    this.#keep('Startup', startupProbe, AbortSignal.any([signal, passed.signal]), (good) => {
      passed.abort();
      if (good) others();
      else void this.#restart(started, startupProbe, 'startup');
    });
  }

  #keep(kind: string, probe: V1Probe, signal: AbortSignal, turned: (passed: boolean) => void): void {
    // A container that is being stopped is no longer restarted; its readiness is probed to the end.
    const until = kind === 'Readiness' ? signal : AbortSignal.any([signal, this.#ending.signal]);
    void keepProbing(
      probe,
      () => probeOnce(probe, this.spec, this.#context.podIP),
      {
        failed: (output) => this.#context.record('Warning', 'Unhealthy', `${kind} probe failed: ${output}`),
        turned: (result) => turned(result === 'success'),
      },
      until,
    );
  }

  async #restart(started: ContainerProcess, probe: V1Probe, kind: string): Promise<void> {
    const { record, pod } = this.#context;
    record('Normal', 'Killing', `Container ${this.spec.name} failed ${kind} probe, will be restarted`);
    const grace = probe.terminationGracePeriodSeconds ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
    await this.#end(started, grace * 1000);
  }

  #end(started: ContainerProcess, graceMs: number): Promise<void> {
    const hook = this.spec.lifecycle?.preStop;
    return endProcess(started, hook === undefined ? undefined : () => this.#preStop(graceMs), graceMs);
  }

  async #preStop(graceMs: number): Promise<void> {
    const { sleep, httpGet: action } = this.spec.lifecycle?.preStop ?? {};
    if (sleep) return delay(sleep.seconds * 1000, undefined, { ref: false });
    const failure = action
      ? await httpGet(action, this.spec, this.#context.podIP, graceMs)
      : 'a simulated node runs no command as a hook';
    if (failure) this.#context.record('Warning', 'FailedPreStopHook', `PreStopHook failed: ${failure}`);
  }

  #wait(reason: string, message: string): void {
    const last = this.status.state?.terminated;
    this.#set({
      state: { waiting: { reason, message } },
      ...(last === undefined ? {} : { lastState: { terminated: last } }),
    });
  }

  #set(changes: Partial<V1ContainerStatus>): void {
    this.status = { ...this.status, ...changes };
    this.#context.changed();
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#ending.signal });
  }
}

/** What the simulator is to know of the machine that the container sees. */
function machine({ resources }: V1Container, gpuProduct: string | undefined): Record<string, string> {
  const { 'nvidia.com/gpu': gpus = '0', memory } = resources?.limits ?? {};
  return {
    SIMULATOR_GPUS: gpus,
    SIMULATOR_GPU_MEMORY_GIB: String(gpuMemoryGiB(gpuProduct)),
    ...(memory === undefined ? {} : { SIMULATOR_HOST_MEMORY_GIB: String(quantity(memory) / 2 ** 30) }),
  };
}

/** A program says by status 137 that it ran out of memory; a process that somebody killed has just failed. */
function reasonOf({ code, signal }: Exit): string {
  if (code === 0) return 'Completed';
  return code === 137 && signal === undefined ? 'OOMKilled' : 'Error';
}

/** A container that ran when the agent last wrote of it, and does no more: the agent's end was its end. */
function lost(before: V1ContainerStatus | undefined): V1ContainerState['terminated'] {
  const startedAt = before?.state?.running?.startedAt;
  if (startedAt === undefined) return undefined;
  const message = 'The container could not be located when the pod was terminated';
  return { exitCode: 137, reason: 'ContainerStatusUnknown', message, startedAt, finishedAt: new Date() };
}
