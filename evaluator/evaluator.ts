import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Judge } from '../adapters/judge/judge.ts';
import type { Database } from '../store/database.ts';
import { countQueuedAnswers, dropAnswersOlderThan } from '../store/scoring-queue.ts';
import { createMetrics } from './metrics.ts';
import { scoreRound } from './round.ts';

export interface EvaluatorOptions {
  db: Database;
  judge: Judge;
  log: Logger;
  /** Its metric is `quality:<name>`. */
  name?: string | undefined;
  /** What a good answer does; said to the judge. */
  criteria?: string | undefined;
  /** Judgements that are asked for at once. */
  concurrency?: number | undefined;
  /** Answers that have waited for longer are dropped unscored. */
  retentionMs?: number | undefined;
  /** An answer that was claimed and not scored for so long, because its evaluator died, is taken again. */
  claimMs?: number | undefined;
  /** Where /metrics and /health are served; 0: any free port. */
  port?: number | undefined;
  host?: string | undefined;
}

export interface Evaluator {
  /** Base URL of /metrics and /health. */
  url: string;
  /** Ends after the running judgements were broken off and what was scored was kept. */
  stop(): Promise<void>;
}

export const DEFAULT_EVALUATOR = 'judge';
export const DEFAULT_CRITERIA =
  'The submission answers what was asked, correctly and completely, and says nothing that is false.';

/** Rounds that run beside each other, so that the slow end of one does not leave the judge idle. */
const LANES = 2;
const LOOK_AGAIN_MS = 200;
const SWEEP_EVERY_MS = 10_000;
/** Pauses after a round that failed, doubling up to the last. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/**
 * The online evaluator: scores the answers that the gateways queued, by a judge that knows neither arm nor revision. It may be killed at
 * any moment and run in several processes: an answer leaves the queue only after its score is in the ledger, where the first score of
 * an evaluator for a request stays. While the judge or the database is down answers wait.
 */
export async function startEvaluator(options: EvaluatorOptions): Promise<Evaluator> {
  const { db, judge, log, name = DEFAULT_EVALUATOR, criteria = DEFAULT_CRITERIA } = options;
  const { concurrency = 16, retentionMs = 86_400_000, claimMs = 60_000 } = options;
  const metrics = createMetrics();
  const stopping = new AbortController();
  const { signal } = stopping;

  const wait = (ms: number) => delay(ms, undefined, { signal }).catch(() => {});

  async function lane(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    let waiting = false;
    while (!signal.aborted) {
      try {
        const laneConcurrency = Math.max(1, Math.ceil(concurrency / LANES));
        const round = { db, judge, name, criteria, concurrency: laneConcurrency, claimMs, signal, metrics };
        const { claimed, scored, setAside, outage } = await scoreRound(round);
        for (const { application, answers } of setAside) {
          log.warn(
            { evaluator: name, application, answers },
            'answers stay unscored: the judge refused them',
          );
        }
        if (scored > 0) pause = FIRST_PAUSE_MS;
        if (outage !== null) throw outage;
        if (waiting && scored > 0) {
          waiting = false;
          log.info({ evaluator: name }, 'answers are scored again');
        }
        if (claimed === 0) await wait(LOOK_AGAIN_MS);
      } catch (error) {
        if (signal.aborted) return;
        const reason = error instanceof Error ? error.message : String(error);
        if (!waiting) log.warn({ evaluator: name, reason }, 'answers wait to be scored');
        waiting = true;
        await wait(pause);
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      }
    }
  }

  async function sweep(): Promise<void> {
    while (!signal.aborted) {
      try {
        for (const [application, dropped] of await dropAnswersOlderThan(db, retentionMs)) {
          metrics.dropped.inc({ application }, dropped);
          log.warn({ evaluator: name, application, dropped }, 'answers waited too long and were dropped');
        }
        metrics.waiting.set(await countQueuedAnswers(db));
      } catch {
        // The lanes say that the database is down.
      }
      await wait(SWEEP_EVERY_MS);
    }
  }

  const server = createServer(async (request, response) => {
    if (request.url === '/health') {
      response.end('ok');
    } else if (request.url === '/metrics') {
      const text = await metrics.registry.metrics();
      response.setHeader('content-type', metrics.registry.contentType).end(text);
    } else {
      response.writeHead(404).end();
    }
  });
  const host = options.host ?? '127.0.0.1';
  server.listen(options.port ?? 0, host);
  await once(server, 'listening');

  const running = [sweep(), ...Array.from({ length: LANES }, lane)];
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    async stop() {
      stopping.abort();
      await Promise.all(running);
      server.close();
      server.closeAllConnections();
    },
  };
}
