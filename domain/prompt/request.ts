import type { ModelParameters, PromptContent } from './prompt.ts';
import type { ChatMessage } from './render.ts';

/** The body of a chat completion as the engine gets it, without what only concerns its transport. */
export interface CompletionRequest extends ModelParameters {
  /** Name under which the serving answers. */
  model: string;
  messages: ChatMessage[];
  response_format?:
    | { type: 'json_schema'; json_schema: { name: string; schema: Record<string, unknown>; strict: true } }
    | undefined;
}

/** What the engine is asked for: the rendered messages, with the prompt version's parameters and output schema. */
export function completionRequest(
  content: PromptContent,
  servedModel: string,
  messages: ChatMessage[],
): CompletionRequest {
  const request: CompletionRequest = { ...content.parameters, model: servedModel, messages };
  if (content.outputSchema !== null) {
    request.response_format = {
      type: 'json_schema',
      json_schema: { name: 'answer', schema: content.outputSchema, strict: true },
    };
  }
  return request;
}
