import mustache from 'mustache';
import { SlipwayError } from '../errors.ts';

/**
 * The part of mustache that prompts use: `{{name}}` (with two or three braces: nothing is HTML here, so nothing is escaped),
 * sections `{{#name}}…{{/name}}` for a value that is not empty, `{{^name}}…{{/name}}` for an empty one, and `{{! comments }}`.
 * Partials and changed delimiters are refused: a prompt version says everything that it says by itself.
 */
export interface Template {
  /** Names that the template uses, each once, in the order of their first use. */
  names: string[];
  /** Values are put in as they are and never read as mustache. Every name must have a value. */
  render(values: ReadonlyMap<string, string>): string;
}

type Node =
  | { kind: 'text'; text: string }
  | { kind: 'value'; name: string }
  | { kind: 'section'; name: string; inverted: boolean; children: Node[] };

/** A token of mustache.js: type, value, start, end and, of a section, its children. */
type Token = [type: string, value: string, start: number, end: number, children?: Token[]];

/** Without its cache of every template it ever saw: who compiles keeps the result. */
const parser = Object.assign(new mustache.Writer(), { templateCache: undefined });

/** @throws SlipwayError PROMPT_INVALID when it is not such mustache; `field` names where the source stands. */
export function compileTemplate(source: string, field: string): Template {
  let tokens: Token[];
  try {
    tokens = parser.parse(source) as Token[];
  } catch (error) {
    throw new SlipwayError(
      'PROMPT_INVALID',
      `${field} is not valid mustache: ${error instanceof Error ? error.message : String(error)}`,
      { field, remedy: 'Close every tag and section; put a space between literal braces: { {' },
    );
  }
  const names = new Set<string>();
  const nodes = tokens.map((token) => toNode(token, field, names));
  return { names: [...names], render: (values) => renderNodes(nodes, values) };
}

function toNode(token: Token, field: string, names: Set<string>): Node {
  const [type, value, , , children] = token;
  switch (type) {
    case '!':
      return { kind: 'text', text: '' };
    case 'text':
      return { kind: 'text', text: value };
    case 'name':
    case '&':
      names.add(value);
      return { kind: 'value', name: value };
    case '#':
    case '^':
      names.add(value);
      return {
        kind: 'section',
        name: value,
        inverted: type === '^',
        children: (children ?? []).map((child) => toNode(child, field, names)),
      };
    default:
      throw new SlipwayError('PROMPT_INVALID', `${field} uses mustache's {{${type}${value}}}`, {
        field,
        value: `{{${type}${value}}}`,
        remedy: 'Use variables, sections and comments only',
      });
  }
}

function renderNodes(nodes: Node[], values: ReadonlyMap<string, string>): string {
  let text = '';
  for (const node of nodes) {
    if (node.kind === 'text') {
      text += node.text;
      continue;
    }
    const value = values.get(node.name);
    if (value === undefined) throw new Error(`the template was rendered without ${node.name}`);
    if (node.kind === 'value') text += value;
    else if ((value === '') === node.inverted) text += renderNodes(node.children, values);
  }
  return text;
}
