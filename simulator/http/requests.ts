import { z } from 'zod';
import { badRequest } from './errors.ts';

const part = z.looseObject({ type: z.string(), text: z.string().optional() });
const message = z.looseObject({
  role: z.string(),
  content: z.union([z.string(), z.array(part)]).nullish(),
});
const tool = z.looseObject({
  type: z.literal('function'),
  function: z.looseObject({ name: z.string(), parameters: z.record(z.string(), z.unknown()).nullish() }),
});
const responseFormat = z.looseObject({
  type: z.enum(['text', 'json_object', 'json_schema']),
  json_schema: z
    .looseObject({ name: z.string().optional(), schema: z.record(z.string(), z.unknown()).optional() })
    .nullish(),
});

const common = {
  model: z.string().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  max_tokens: z.int().nullish(),
  temperature: z.number().min(0).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string())]).nullish(),
  n: z.int().min(1).nullish(),
  ignore_eos: z.boolean().nullish(),
  request_id: z.string().nullish(),
};

const chatSchema = z.looseObject({
  ...common,
  messages: z.array(message).min(1),
  max_completion_tokens: z.int().nullish(),
  tools: z.array(tool).nullish(),
  tool_choice: z
    .union([
      z.enum(['none', 'auto', 'required']),
      z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string() }) }),
    ])
    .nullish(),
  response_format: responseFormat.nullish(),
});

const completionSchema = z.looseObject({ ...common, prompt: z.union([z.string(), z.array(z.string())]) });

const tokenizeSchema = z.looseObject({
  model: z.string().nullish(),
  prompt: z.string().optional(),
  messages: z.array(message).optional(),
});
const detokenizeSchema = z.looseObject({ model: z.string().nullish(), tokens: z.array(z.int()) });

export type ChatRequest = z.infer<typeof chatSchema>;
export type CompletionRequest = z.infer<typeof completionSchema>;
export type TokenizeRequest = z.infer<typeof tokenizeSchema>;
export type DetokenizeRequest = z.infer<typeof detokenizeSchema>;

/** @throws ApiError 400 with vLLM's message for a body that is no JSON */
function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw badRequest(
      "[{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': 'Expecting value'}}]",
    );
  }
}

/** The first mistake as pydantic tells it: where, and what. */
function parseWith<T>(schema: z.ZodType<T>, body: string): T {
  const parsed = schema.safeParse(parseJson(body));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = ['body', ...(issue?.path ?? [])];
  const at = where.map((step) => (typeof step === 'number' ? step : `'${String(step)}'`)).join(', ');
  throw badRequest(
    `[{'type': '${issue?.code ?? 'invalid'}', 'loc': (${at}), 'msg': '${issue?.message ?? 'invalid'}'}]`,
    where.at(-1) === 'body' ? null : String(where.at(-1)),
  );
}

export const parseChat = (body: string): ChatRequest => parseWith(chatSchema, body);
export const parseCompletion = (body: string): CompletionRequest => parseWith(completionSchema, body);
export const parseTokenize = (body: string): TokenizeRequest => parseWith(tokenizeSchema, body);
export const parseDetokenize = (body: string): DetokenizeRequest => parseWith(detokenizeSchema, body);

/** The text of a message: its parts of type text, one a line. */
export function contentText(content: ChatRequest['messages'][number]['content']): string {
  if (typeof content === 'string') return content;
  return (content ?? []).flatMap((one) => (one.type === 'text' ? [one.text ?? ''] : [])).join('\n');
}
