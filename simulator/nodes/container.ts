import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { V1Container, V1ContainerState, V1ContainerStatus } from '@kubernetes/client-node';
import { goDuration, nextWait } from './backoff.ts';
import type { ContainerContext, Waiting } from './container-context.ts';
import { type ContainerProbeListener, probeContainer } from './container-probes.ts';
import { endProcess } from './ending.ts';
import type { Values } from './environment.ts';
import { launch, ownEnvironment, StartError } from './launch.ts';
import { logTail } from './log-file.ts';
import { httpGet } from './probe-once.ts';
import type { ContainerProcess, Exit } from './process.ts';
import { pullImage } from './pulling.ts';

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
  #waiting: Waiting = {
    say: (reason, message) => {
      const last = this.status.state?.terminated;
      this.#set({
        state: { waiting: { reason, message } },
        ...(last === undefined ? {} : { lastState: { terminated: last } }),
      });
    },
    pause: (ms) => delay(ms, undefined, { signal: this.#ending.signal }),
  };

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
      await pullImage(this.spec, this.#context, this.#waiting);
      this.#set({ imageID: this.spec.image ?? '' });
      const environment = await ownEnvironment(this.spec, this.#context, this.#waiting);
      const begun = performance.now();
      const exitCode = await this.#runOnce(environment);
      if (this.#ending.signal.aborted || !this.#context.restarts(exitCode)) return;
      wait = nextWait(wait, performance.now() - begun, this.#context.node.backoff);
      if (wait > 0) await this.#backOff(wait);
    }
  }

  async #runOnce(environment: Values): Promise<number> {
    const { record, folder } = this.#context;
    const { name } = this.spec;
    this.#ending.signal.throwIfAborted();
    const containerID = `simulator://${randomBytes(32).toString('hex')}`;
    const last = this.status.state?.terminated ?? this.status.lastState?.terminated;
    if (last !== undefined) this.#set({ restartCount: this.status.restartCount + 1 });
    rmSync(join(folder, `${this.status.restartCount - 2}.log`), { force: true });
    const startedAt = new Date();
    record('Normal', 'Created', `Created container: ${name}`);
    let started: ContainerProcess;
    try {
      started = await launch(this.spec, environment, this.logFile(false), this.#context);
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      const { message } = error;
      record('Warning', 'Failed', `Error: failed to start container "${name}": ${message}`);
      this.#ended({ exitCode: 128, reason: 'StartError', message, containerID, startedAt });
      return 128;
    }
    this.#process = started;
    record('Normal', 'Started', `Started container ${name}`);
    this.#set({
      state: { running: { startedAt } },
      ...(last === undefined ? {} : { lastState: { terminated: last } }),
      containerID,
    });
    const running = new AbortController();
    this.#probe(started, running.signal);
    if (this.#ending.signal.aborted) started.signal('SIGKILL');
    const exit = await started.exited;
    running.abort();
    const reason = reasonOf(exit);
    this.#ended({ exitCode: exit.code, reason, containerID, startedAt, ...this.#message(exit) });
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
    this.#waiting.say('CrashLoopBackOff', said);
    await this.#waiting.pause(ms);
  }

  #probe(started: ContainerProcess, running: AbortSignal): void {
    const { record, pod, podIP } = this.#context;
    const listener: ContainerProbeListener = {
      failed: (kind, output) => record('Warning', 'Unhealthy', `${kind} probe failed: ${output}`),
      started: () => this.#set({ started: true }),
      ready: (ready) => this.#set({ ready }),
      dead: (kind, probe) => {
        record('Normal', 'Killing', `Container ${this.spec.name} failed ${kind} probe, will be restarted`);
        const grace = probe.terminationGracePeriodSeconds ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
        void this.#end(started, grace * 1000);
      },
    };
    probeContainer(this.spec, podIP, listener, { running, kept: this.#ending.signal });
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

  #set(changes: Partial<V1ContainerStatus>): void {
    this.status = { ...this.status, ...changes };
    this.#context.changed();
  }
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
