import { SlipwayError } from '../errors.ts';
import type { PromptContent } from './prompt.ts';
import { compileTemplate, type Template } from './template.ts';

/** A part of a message's content in OpenAI's shape; only parts of type `text` have a text. */
export interface ContentPart {
  type: string;
  text?: string | undefined;
  [key: string]: unknown;
}

/** A message in OpenAI's shape; members that Slipway does not know are passed on. */
export interface ChatMessage {
  role: string;
  content?: string | ContentPart[] | null | undefined;
  [key: string]: unknown;
}

export interface PromptRequest {
  messages: readonly ChatMessage[];
  /** Values of the prompt's variables, by name. */
  variables: Readonly<Record<string, string>>;
}

interface CompiledPrompt {
  system: Template;
  template: Template;
}

/** Compiled once per content object: a gateway keeps a prompt's object as long as its route table. */
const compiled = new WeakMap<PromptContent, CompiledPrompt>();

/** @throws SlipwayError PROMPT_INVALID when a text is not valid mustache. */
export function compilePrompt(content: PromptContent): CompiledPrompt {
  let prompt = compiled.get(content);
  if (prompt === undefined) {
    prompt = {
      system: compileTemplate(content.system, 'system'),
      template: compileTemplate(content.template, 'template'),
    };
    compiled.set(content, prompt);
  }
  return prompt;
}

/**
 * What the model is asked: the system text, the examples as turns as they are written, the earlier turns of the request as they came,
 * and the template in place of the last user message, `input` being what the user wrote. Parts of that message that are not text
 * follow the rendered text; messages after it (results of tools) stay after it.
 *
 * What users and requests say is never read as mustache.
 *
 * A system or developer message in the request is refused: the arm's prompt version is all the instruction there is, so that what
 * was compared, signed and replayed is what the model was told. What an application wants to add belongs in a variable.
 *
 * @throws SlipwayError REQUEST_INVALID, PROMPT_VARIABLE_MISSING, PROMPT_VARIABLE_UNKNOWN
 */
export function renderMessages(content: PromptContent, request: PromptRequest): ChatMessage[] {
  const { system, template } = compilePrompt(content);
  const last = lastUserMessage(request.messages);
  const values = valuesOf(content, request.variables).set('input', textOf(last.message.content));

  const messages: ChatMessage[] = [];
  const systemText = system.render(values);
  if (systemText !== '') messages.push({ role: 'system', content: systemText });
  for (const example of content.examples) {
    messages.push({ role: 'user', content: example.input }, { role: 'assistant', content: example.output });
  }
  messages.push(...request.messages.slice(0, last.index));
  messages.push({ ...last.message, content: withText(last.message.content, template.render(values)) });
  messages.push(...request.messages.slice(last.index + 1));
  return messages;
}

function lastUserMessage(messages: readonly ChatMessage[]): { message: ChatMessage; index: number } {
  let last: { message: ChatMessage; index: number } | undefined;
  for (const [index, message] of messages.entries()) {
    if (message.role === 'system' || message.role === 'developer') {
      throw new SlipwayError('REQUEST_INVALID', `the request brings a ${message.role} message`, {
        field: `messages[${index}].role`,
        value: message.role,
        remedy: "Leave it out: the application's prompt version supplies it; pass what varies as a variable",
      });
    }
    if (message.role === 'user') last = { message, index };
  }
  if (last === undefined) {
    throw new SlipwayError('REQUEST_INVALID', 'the request has no user message', {
      field: 'messages',
      remedy: 'Send at least one message with the role user',
    });
  }
  return last;
}

function valuesOf(content: PromptContent, given: Readonly<Record<string, string>>): Map<string, string> {
  const values = new Map<string, string>();
  for (const variable of content.variables) {
    const value = Object.hasOwn(given, variable.name) ? given[variable.name] : variable.default;
    if (value === undefined) {
      throw new SlipwayError('PROMPT_VARIABLE_MISSING', `the request lacks the variable ${variable.name}`, {
        field: `variables.${variable.name}`,
        remedy: `Give ${variable.name}, or declare a default for it in the next version of the prompt`,
      });
    }
    values.set(variable.name, value);
  }
  for (const name of Object.keys(given)) {
    if (values.has(name)) continue;
    const declared = content.variables.map((variable) => variable.name);
    throw new SlipwayError('PROMPT_VARIABLE_UNKNOWN', `the prompt declares no variable ${name}`, {
      field: `variables.${name}`,
      remedy:
        name === 'input'
          ? 'Leave it out: input is the last user message'
          : declared.length === 0
            ? 'Leave it out: the prompt declares no variables'
            : `Use one of the declared variables: ${declared.join(', ')}`,
    });
  }
  return values;
}

/** The text of a message: its parts' texts, one after the other, one a line. */
export function textOf(content: ChatMessage['content']): string {
  if (typeof content === 'string') return content;
  return (content ?? []).flatMap((part) => (part.type === 'text' ? [part.text ?? ''] : [])).join('\n');
}

function withText(content: ChatMessage['content'], text: string): string | ContentPart[] {
  const others = Array.isArray(content) ? content.filter((part) => part.type !== 'text') : [];
  return others.length === 0 ? text : [{ type: 'text', text }, ...others];
}
