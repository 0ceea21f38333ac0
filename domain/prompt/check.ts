import { Ajv } from 'ajv';
import { SlipwayError } from '../errors.ts';
import type { PromptContent } from './prompt.ts';
import { compilePrompt } from './render.ts';

const variableName = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/**
 * What a prompt must hold before it becomes a version; its shape was checked by whoever parsed it.
 * @throws SlipwayError PROMPT_INVALID, PROMPT_VARIABLE_UNKNOWN
 */
export function checkPrompt(content: PromptContent): void {
  const declared = new Set<string>(['input']);
  for (const [index, { name }] of content.variables.entries()) {
    const field = `variables[${index}].name`;
    if (!variableName.test(name)) {
      throw invalid(field, name, 'is no name for a variable', 'Use letters, digits, _ and -');
    }
    if (declared.has(name)) {
      throw invalid(
        field,
        name,
        name === 'input' ? 'is always there' : 'is declared twice',
        name === 'input' ? 'Do not declare input: it is the last user message' : 'Declare it once',
      );
    }
    declared.add(name);
  }
  const { system, template } = compilePrompt(content);
  for (const [field, { names }] of Object.entries({ system, template })) {
    const unknown = names.find((name) => !declared.has(name));
    if (unknown !== undefined) {
      throw new SlipwayError('PROMPT_VARIABLE_UNKNOWN', `the ${field} uses the variable ${unknown}`, {
        field,
        value: unknown,
        remedy: `Declare ${unknown} under variables, or use one of: ${[...declared].join(', ')}`,
      });
    }
  }
  if (!template.names.includes('input') && !system.names.includes('input')) {
    throw invalid(
      'template',
      undefined,
      'never says what the user wrote',
      'Put {{input}} where the last user message belongs',
    );
  }
  if (content.outputSchema !== null) checkSchema(content.outputSchema);
}

function checkSchema(schema: Record<string, unknown>): void {
  try {
    new Ajv({ strict: false }).compile(schema);
  } catch (error) {
    throw invalid(
      'outputSchema',
      undefined,
      `is not a JSON schema: ${error instanceof Error ? error.message : String(error)}`,
      'Write a JSON schema of draft 7',
    );
  }
}

function invalid(field: string, value: unknown, problem: string, remedy: string): SlipwayError {
  const subject = value === undefined ? field : `${field} ${JSON.stringify(value)}`;
  return new SlipwayError('PROMPT_INVALID', `${subject} ${problem}`, { field, value, remedy });
}
