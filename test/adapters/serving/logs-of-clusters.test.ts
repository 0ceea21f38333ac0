import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import type { KubernetesClient } from '../../../adapters/kubernetes/client.ts';
import type { Pod } from '../../../adapters/kubernetes/objects.ts';
import { observeServing } from '../../../adapters/serving/kubernetes/observe.ts';
import { defaultClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { deployment, pod } from './kubernetes-objects.ts';

const ERROR = 'vllm: error: unrecognized arguments: --stream-intervall 8';

/** A cluster with one pod; `logs`: of the container that runs now, and of the one before. */
function clusterWith(one: Pod, logs: { current: string | null; previous: string | null }) {
  const lists: Record<string, unknown[]> = { deployments: [deployment()], pods: [one] };
  const client = {
    list: async ({ plural }: { plural: string }) => ({ items: lists[plural] ?? [] }),
    log: async (_pod: unknown, _container: string, { previous }: { previous: boolean }) =>
      previous ? logs.previous : logs.current,
  } as unknown as KubernetesClient;
  return { client, settings: defaultClusterSettings, log: pino({ enabled: false }) };
}

const ended = { terminated: { exitCode: 2 } };
const cases: [string, Pod, { current: string | null; previous: string | null }][] = [
  [
    'that waits to start again in a listing from before its successor started',
    pod({
      restartCount: 3,
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } },
      lastState: ended,
    }),
    { current: 'INFO starting', previous: ERROR },
  ],
  [
    'that has just ended, with a successor that has said nothing',
    pod({ restartCount: 3, state: ended }),
    { current: '', previous: ERROR },
  ],
  [
    'whose successor runs and whose own log is gone: it failed alike',
    pod({ restartCount: 3, state: { running: {} }, lastState: ended }),
    { current: ERROR, previous: null },
  ],
  [
    'that ended once and has no previous one',
    pod({ restartCount: 0, state: ended }),
    { current: ERROR, previous: null },
  ],
];
for (const [what, one, logs] of cases) {
  test(`the log of a container ${what} is found`, async () => {
    const seen = await observeServing(clusterWith(one, logs), 'sha256:0123456789abcdef');
    assert.match(seen.message, /with status 2\. The end of its log:\nvllm: error: unrecognized arguments/);
    assert.match(seen.remedy ?? '', /^Correct runtime\.flags: /);
  });
}
