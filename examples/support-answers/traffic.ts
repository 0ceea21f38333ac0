import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import OpenAI, { APIError } from 'openai';
import { parse } from 'yaml';
import { z } from 'zod';
import { Crowd } from './customers.ts';

export interface TrafficOptions {
  /** Of the gateway, with `/v1`. */
  baseURL: string;
  apiKey: string;
  /** The application, which the gateway takes as the model's name. */
  model: string;
  customers: number;
  /** Requests a second that the customers would like to send. */
  rate: number;
  /** Requests under way at most: a customer who would be one more goes away, so that a slow machine is not stormed. */
  concurrency: number;
  /** Share of answers for which the customer gives a thumb up or down. */
  feedbackShare: number;
  /** Share of requests that name no user. */
  anonymousShare: number;
  seed: number;
}

export const defaultTraffic: Omit<TrafficOptions, 'baseURL' | 'apiKey'> = {
  model: 'support-answers',
  customers: 3300,
  rate: 150,
  concurrency: 96,
  feedbackShare: 0.02,
  anonymousShare: 0.01,
  seed: 1,
};

export interface TrafficCounts {
  sent: number;
  answered: number;
  failed: number;
  /** Customers who went away because `concurrency` was reached. */
  heldBack: number;
  feedback: number;
  feedbackFailed: number;
  /** Failures by HTTP status; `none` when no status came. */
  failures: Record<string, number>;
  underWay: number;
  /** Customers who sent at least one request. */
  customers: number;
}

/** How often due requests are sent; at 150/s some three at once. */
const TICK_MS = 20;

const questionsSchema = z.array(z.strictObject({ input: z.string() })).min(1);

export function loadQuestions(path = join(import.meta.dirname, 'questions.yaml')): string[] {
  return questionsSchema.parse(parse(readFileSync(path, 'utf8'))).map((question) => question.input);
}

/** Customers who ask `questions.yaml` through the gateway; they know neither arms nor prompts. */
export class Traffic {
  readonly #options: TrafficOptions;
  readonly #client: OpenAI;
  readonly #crowd: Crowd;
  readonly #seen = new Set<string>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #counts = { sent: 0, answered: 0, failed: 0, heldBack: 0, feedback: 0, feedbackFailed: 0 };
  readonly #failures = new Map<string, number>();
  #timer: NodeJS.Timeout | null = null;
  #due = 0;

  constructor(options: TrafficOptions, questions: readonly string[] = loadQuestions()) {
    this.#options = options;
    this.#crowd = new Crowd(options.customers, questions, options.seed);
    this.#client = new OpenAI({
      baseURL: options.baseURL,
      apiKey: options.apiKey,
      maxRetries: 0,
      timeout: 30_000,
    });
  }

  start(): void {
    if (this.#timer !== null) return;
    this.#due = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Sends nothing more and waits for the answers that are under way. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    await Promise.all(this.#underWay);
  }

  counts(): TrafficCounts {
    return {
      ...this.#counts,
      failures: Object.fromEntries(this.#failures),
      underWay: this.#underWay.size,
      customers: this.#seen.size,
    };
  }

  #tick(): void {
    const now = performance.now();
    // After a stall of this process nothing is made up for.
    if (now - this.#due > 1000) this.#due = now;
    while (this.#due <= now) {
      this.#due += this.#crowd.pause(this.#options.rate) * 1000;
      if (this.#underWay.size >= this.#options.concurrency) {
        this.#counts.heldBack += 1;
        continue;
      }
      const request = this.#request().finally(() => this.#underWay.delete(request));
      this.#underWay.add(request);
    }
  }

  async #request(): Promise<void> {
    const { customer, text } = this.#crowd.next();
    const named = !this.#crowd.happens(this.#options.anonymousShare);
    const givesFeedback = this.#crowd.happens(this.#options.feedbackShare);
    if (named) this.#seen.add(customer.id);
    this.#counts.sent += 1;
    const body = {
      model: this.#options.model,
      messages: [{ role: 'user' as const, content: text }],
      ...(named ? { [customer.idField]: customer.id } : {}),
    };
    try {
      const { answer, requestId } = customer.streams ? await this.#streamed(body) : await this.#whole(body);
      if (answer === '') throw new Error('the answer is empty');
      this.#counts.answered += 1;
      if (givesFeedback && requestId !== null) await this.#giveFeedback(requestId, answer);
    } catch (error) {
      this.#counts.failed += 1;
      const status = error instanceof APIError && error.status !== undefined ? String(error.status) : 'none';
      this.#failures.set(status, (this.#failures.get(status) ?? 0) + 1);
    }
  }

  async #whole(
    body: OpenAI.ChatCompletionCreateParamsNonStreaming,
  ): Promise<{ answer: string; requestId: string | null }> {
    const completion = await this.#client.chat.completions.create(body);
    return {
      answer: completion.choices[0]?.message.content ?? '',
      requestId: completion._request_id ?? null,
    };
  }

  async #streamed(
    body: OpenAI.ChatCompletionCreateParamsNonStreaming,
  ): Promise<{ answer: string; requestId: string | null }> {
    const { data, request_id } = await this.#client.chat.completions
      .create({ ...body, stream: true })
      .withResponse();
    let answer = '';
    let finished = false;
    for await (const chunk of data) {
      answer += chunk.choices[0]?.delta.content ?? '';
      if (chunk.choices[0]?.finish_reason != null) finished = true;
    }
    if (!finished) throw new Error('the stream ended early');
    return { answer, requestId: request_id };
  }

  /** A customer cannot tell whether a figure is right, but does not like to be sent away. */
  async #giveFeedback(requestId: string, answer: string): Promise<void> {
    const sentAway = /\b(not sure|contact our|help pages|ask a colleague)\b/i.test(answer);
    try {
      await this.#client.post('/feedback', { body: { request_id: requestId, score: sentAway ? 0 : 1 } });
      this.#counts.feedback += 1;
    } catch {
      this.#counts.feedbackFailed += 1;
    }
  }
}

/** `node examples/support-answers/traffic.ts --base-url http://127.0.0.1:8080/v1 --api-key … [--rate 150] [--seconds 60]` */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'base-url': { type: 'string' },
      'api-key': { type: 'string' },
      model: { type: 'string', default: defaultTraffic.model },
      customers: { type: 'string', default: String(defaultTraffic.customers) },
      rate: { type: 'string', default: String(defaultTraffic.rate) },
      concurrency: { type: 'string', default: String(defaultTraffic.concurrency) },
      'feedback-share': { type: 'string', default: String(defaultTraffic.feedbackShare) },
      seed: { type: 'string', default: String(defaultTraffic.seed) },
      seconds: { type: 'string' },
    },
  });
  const apiKey = values['api-key'] ?? process.env.OPENAI_API_KEY;
  const baseURL = values['base-url'] ?? process.env.OPENAI_BASE_URL;
  if (apiKey === undefined || baseURL === undefined) {
    console.error('Give --base-url and --api-key, or set OPENAI_BASE_URL and OPENAI_API_KEY.');
    process.exitCode = 2;
    return;
  }
  const traffic = new Traffic({
    ...defaultTraffic,
    baseURL,
    apiKey,
    model: values.model,
    customers: Number(values.customers),
    rate: Number(values.rate),
    concurrency: Number(values.concurrency),
    feedbackShare: Number(values['feedback-share']),
    seed: Number(values.seed),
  });
  const report = () => console.log(JSON.stringify(traffic.counts()));
  const reporting = setInterval(report, 5000);
  traffic.start();
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
    if (values.seconds !== undefined) setTimeout(resolve, Number(values.seconds) * 1000);
  });
  clearInterval(reporting);
  await traffic.stop();
  report();
}

if (import.meta.main) await main();
