import type { ServerResponse } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { errorForLog } from '../domain/error-for-log.ts';
import type { SlipwayError } from '../domain/errors.ts';
import type { SampleRecord } from '../store/ledger.ts';
import type { Assignment } from './assignment.ts';
import type { ChatRequest } from './chat-request.ts';
import type { Usage } from './completion.ts';
import type { Metrics } from './metrics.ts';
import { openAiError } from './openai-errors.ts';
import type { Spool } from './spool/spool.ts';
import type { FailureReason } from './upstream.ts';

export interface ExchangeParts {
  id: string;
  /** ms since 1970, and on the monotonic clock. */
  at: number;
  started: number;
  tenant: string;
  request: ChatRequest;
  userKey: string | null;
  assignment: Assignment;
  /** The raw response: it is written past the framework. */
  res: ServerResponse;
  spool: Spool;
  metrics: Metrics;
  logger: Logger;
}

/** Everything that a request became, for its one record. */
interface Outcome {
  status: number;
  reason: FailureReason | null;
  interrupted: boolean;
  usage: Usage | null;
  finishReason: string | null;
  output: string | null;
}

/**
 * One request that was routed to an arm, until it is answered. It is recorded exactly once, and always before its last bytes are handed to
 * the socket: whoever has the whole answer is in the ledger (invariant 10).
 */
export class Exchange {
  readonly parts: ExchangeParts;
  endpoint: string | null = null;
  #recorded = false;
  #firstContent: number | null = null;
  #lastContent = 0;

  constructor(parts: ExchangeParts) {
    this.parts = parts;
  }

  get recorded(): boolean {
    return this.#recorded;
  }

  /** A part of the answer that the user waits for has come from the endpoint. */
  contentArrived(): void {
    this.#lastContent = performance.now();
    this.#firstContent ??= this.#lastContent;
  }

  /** What came until now reached nobody: another endpoint is asked from the beginning. */
  startOver(): void {
    this.#firstContent = null;
    this.#lastContent = 0;
  }

  /** Records an answer in full; then the caller writes its last bytes. @returns false when it could not be recorded and must not end well */
  complete(answer: { usage: Usage | null; finishReason: string | null; output: string }): boolean {
    return this.#record({ status: 200, reason: null, interrupted: false, ...answer });
  }

  /** Ends the exchange with an error: as an answer of its own when nothing was sent yet, else by breaking the stream off visibly. */
  fail(reason: FailureReason, error: SlipwayError, headers: Record<string, string> = {}): void {
    this.failWith(reason, error.status, openAiError(error), headers);
  }

  failWith(reason: FailureReason, status: number, body: object, headers: Record<string, string> = {}): void {
    const { res, logger } = this.parts;
    if (this.#recorded) {
      res.destroy();
      return;
    }
    const begun = res.headersSent;
    if (!begun) this.startOver();
    const recorded = this.#record({
      status: begun ? 200 : status,
      reason,
      interrupted: begun,
      usage: null,
      finishReason: null,
      output: null,
    });
    logger.warn({ ...this.labels(), reason, status }, 'a request failed');
    if (!recorded) {
      res.destroy();
    } else if (begun) {
      // The error event, and then no clean end: neither [DONE] nor the last chunk of the transfer.
      res.write(`data: ${JSON.stringify(body)}\n\n`, () => res.destroy());
    } else {
      const text = JSON.stringify(body);
      res.writeHead(status, {
        'content-type': 'application/json; charset=utf-8',
        'content-length': Buffer.byteLength(text),
        'x-request-id': this.parts.id,
        ...headers,
      });
      res.end(text);
    }
  }

  /** The client left before the end. */
  clientClosed(): void {
    if (this.#recorded) return;
    this.#record({
      status: 499,
      reason: 'client_closed',
      interrupted: true,
      usage: null,
      finishReason: null,
      output: null,
    });
  }

  /**
   * A client that gives up before it got anything was failed; one that leaves in the middle of an answer may have read enough.
   */
  #isFailure(reason: FailureReason | null): boolean {
    return reason !== null && !(reason === 'client_closed' && this.#firstContent !== null);
  }

  /** What a log says of the request. */
  labels() {
    const { id, request, assignment } = this.parts;
    return {
      request: id,
      application: request.application,
      release: assignment.release,
      arm: assignment.arm,
      endpoint: this.endpoint,
    };
  }

  #record(outcome: Outcome): boolean {
    this.#recorded = true;
    const { spool, metrics, logger } = this.parts;
    const record = this.#sample(outcome);
    metrics.observe(record, this.parts.assignment.target);
    try {
      spool.append(record);
      return true;
    } catch (error) {
      logger.error(
        { ...this.labels(), ...errorForLog(error) },
        'a request could not be recorded; its answer is broken off',
      );
      return false;
    }
  }

  #sample({ status, reason, interrupted, usage, finishReason, output }: Outcome): SampleRecord {
    const { id, at, started, tenant, request, userKey, assignment } = this.parts;
    const { target } = assignment;
    const streamed = request.stream;
    const first = this.#firstContent;
    const tokensAfterFirst = (usage?.completionTokens ?? 0) - 1;
    const { inputPerMillion, outputPerMillion } = target.model.price;
    return {
      id,
      at,
      tenant,
      application: request.application,
      release: assignment.release,
      arm: assignment.arm,
      user: userKey,
      stratum: assignment.stratum,
      revision: target.revision,
      endpoint: this.endpoint,
      status,
      reason,
      failed: this.#isFailure(reason),
      interrupted,
      streamed,
      finishReason,
      // Nothing is checked yet: not a measured zero, and documented as such wherever violations are judged.
      violations: 0,
      latency: (performance.now() - started) / 1000,
      ttft: streamed && first !== null ? (first - started) / 1000 : null,
      tpot:
        streamed && first !== null && tokensAfterFirst > 0
          ? (this.#lastContent - first) / 1000 / tokensAfterFirst
          : null,
      cost:
        usage === null
          ? null
          : (usage.promptTokens * inputPerMillion + usage.completionTokens * outputPerMillion) / 1e6,
      promptTokens: usage?.promptTokens ?? null,
      completionTokens: usage?.completionTokens ?? null,
      cachedTokens: usage?.cachedTokens ?? null,
      scoring:
        assignment.scored && output !== null && output !== ''
          ? { input: withoutNul(lastInput(request)), output: withoutNul(output) }
          : null,
    };
  }
}

/** What the user wrote: the last user message. */
function lastInput({ messages }: ChatRequest): string {
  const content = messages.findLast((message) => message.role === 'user')?.content;
  if (typeof content === 'string') return content;
  return (content ?? []).flatMap((part) => (part.type === 'text' ? [part.text ?? ''] : [])).join('\n');
}

/** Postgres' texts cannot hold it. */
function withoutNul(text: string): string {
  return text.replaceAll('\0', '');
}
