import { Answerer } from '../answers/answer.ts';
import type { ModelAbility } from '../answers/chance.ts';
import { filled, type JsonSchema } from '../answers/format.ts';
import { judge } from '../answers/judge.ts';
import type { Knowledge } from '../answers/knowledge.ts';
import type { Engine } from '../engine/engine.ts';
import { countTokens } from '../engine/tokenizer.ts';
import { ApiError, badRequest } from './errors.ts';
import { makeOutput, type Output } from './output.ts';
import { type ChatRequest, type CompletionRequest, contentText } from './requests.ts';

export interface ServedModel {
  /** Names under which the model is served; the first is the one that answers carry. */
  names: readonly [string, ...string[]];
  /** What was loaded, whatever its names: answers depend on it. */
  model: string;
  maxModelLen: number;
  ability: ModelAbility;
  knowledge: Knowledge | null;
  engine: Engine;
}

/** A request understood: what goes into the engine, and what comes out of it. */
export interface Planned {
  prompt: string;
  promptTokens: number;
  maxTokens: number | null;
  output: Output;
  /** Name of the function that is called with the output as its arguments; null: an ordinary answer. */
  tool: string | null;
}

/** Tokens that the chat template puts around each message, and before the answer. */
const TOKENS_PER_MESSAGE = 5;
const TOKENS_OF_TEMPLATE = 3;

/** vLLM serves with the temperature 1 unless the request or the model's generation config says otherwise. */
const DEFAULT_TEMPERATURE = 1;

/** Turns requests into what the engine and the "model" make of them. */
export class ModelServer {
  readonly served: ServedModel;
  readonly #answerer: Answerer | null;

  constructor(served: ServedModel) {
    this.served = served;
    this.#answerer = served.knowledge === null ? null : new Answerer(served.knowledge);
  }

  /** @throws ApiError 404 for a model that is not served here */
  checkModel(model: string | null | undefined): void {
    if (model === null || model === undefined || this.served.names.includes(model)) return;
    throw new ApiError(404, 'NotFoundError', `The model \`${model}\` does not exist.`, 'model');
  }

  planChat(request: ChatRequest): Planned {
    this.checkModel(request.model);
    const messages = request.messages.map((message) => ({
      role: message.role,
      content: contentText(message.content),
    }));
    const prompt = messages.map((message) => `<${message.role}>${message.content}`).join('');
    const promptTokens =
      messages.reduce((sum, message) => sum + countTokens(message.content) + TOKENS_PER_MESSAGE, 0) +
      TOKENS_OF_TEMPLATE;
    const tool = calledTool(request);
    const text = () =>
      tool === null
        ? this.#answer(messages, request)
        : this.#toolArguments(messages.map((message) => message.content).join('\n'), tool.parameters);
    return this.#plan(
      prompt,
      promptTokens,
      request,
      request.max_completion_tokens ?? request.max_tokens,
      text,
      tool,
    );
  }

  planCompletion(request: CompletionRequest): Planned {
    this.checkModel(request.model);
    const prompt = typeof request.prompt === 'string' ? request.prompt : request.prompt[0];
    if (prompt === undefined || (typeof request.prompt !== 'string' && request.prompt.length > 1)) {
      throw badRequest('The simulator takes one prompt in a request.', 'prompt');
    }
    const messages = [{ role: 'user', content: prompt }];
    return this.#plan(prompt, countTokens(prompt) + 1, request, request.max_tokens ?? 16, () =>
      this.#answer(messages, request),
    );
  }

  #plan(
    prompt: string,
    promptTokens: number,
    request: ChatRequest | CompletionRequest,
    maxTokens: number | null | undefined,
    text: () => string,
    tool: { name: string } | null = null,
  ): Planned {
    if ((request.n ?? 1) > 1)
      throw badRequest('The simulator makes one choice for a request: n must be 1.', 'n');
    const { maxModelLen } = this.served;
    if (maxTokens !== null && maxTokens !== undefined && maxTokens < 1) {
      throw badRequest(`max_tokens must be at least 1, got ${maxTokens}.`, 'max_tokens');
    }
    const wanted = maxTokens ?? 0;
    if (promptTokens + wanted > maxModelLen || promptTokens >= maxModelLen) {
      throw badRequest(
        `This model's maximum context length is ${maxModelLen} tokens. However, you requested ${wanted} output tokens and your ` +
          `prompt contains at least ${promptTokens} input tokens, for a total of at least ${promptTokens + wanted} tokens. ` +
          'Please reduce the length of the input prompt or the number of requested output tokens. ' +
          `(parameter=input_tokens, value=${promptTokens})`,
        'input_tokens',
      );
    }
    const stops = typeof request.stop === 'string' ? [request.stop] : (request.stop ?? []);
    const limit = maxTokens ?? maxModelLen - promptTokens;
    return {
      prompt,
      promptTokens,
      maxTokens: maxTokens ?? null,
      output: makeOutput(text(), limit, stops, request.ignore_eos ?? false),
      tool: tool?.name ?? null,
    };
  }

  #answer(
    messages: readonly { role: string; content: string }[],
    request: ChatRequest | CompletionRequest,
  ): string {
    if (this.#answerer === null) return 'This model has no knowledge to answer from.';
    const format = 'response_format' in request ? (request as ChatRequest).response_format : undefined;
    return this.#answerer.answer({
      messages,
      model: this.served.model,
      ability: this.served.ability,
      temperature: request.temperature ?? DEFAULT_TEMPERATURE,
      seed: request.seed ?? null,
      responseSchema: format?.type === 'json_schema' ? (format.json_schema?.schema ?? null) : null,
      jsonObject: format?.type === 'json_object',
    }).text;
  }

  /** A property with an enum is what is being judged; free text beside it gets the reasons. */
  #toolArguments(text: string, parameters: JsonSchema): string {
    const properties = Object.entries(parameters.properties ?? {});
    const judged = properties.find(([, property]) => property.enum !== undefined);
    const { knowledge } = this.served;
    if (judged === undefined || knowledge === null) {
      const content = { prose: 'unknown', value: 'unknown', right: false, fact: null };
      return JSON.stringify(filled({ ...parameters, type: 'object' }, 'answer', content));
    }
    const [name, { enum: choices = [] }] = judged;
    const verdict = judge(text, choices.map(String), knowledge);
    return JSON.stringify(
      Object.fromEntries(properties.map(([key]) => [key, key === name ? verdict.choice : verdict.reasons])),
    );
  }
}

/** The function that the request makes the model call; with `auto` the model answers in prose. */
function calledTool(request: ChatRequest): { name: string; parameters: JsonSchema } | null {
  const choice = request.tool_choice;
  if (choice === null || choice === undefined || choice === 'none' || choice === 'auto') return null;
  const wanted = choice === 'required' ? request.tools?.[0]?.function.name : choice.function.name;
  const tool = request.tools?.find((one) => one.function.name === wanted);
  if (tool === undefined) {
    throw badRequest(
      'The tool specified in `tool_choice` does not match any of the specified `tools`',
      'tool_choice',
    );
  }
  return { name: tool.function.name, parameters: tool.function.parameters ?? {} };
}
