import assert from 'node:assert/strict';
import { Ajv2020 } from 'ajv/dist/2020.js';

interface Operation {
  responses: Record<string, { content?: Record<string, { schema: object }> }>;
  security: unknown[];
}

/** The OpenAPI document as a judge of what the API really answers. */
export class ApiDocument {
  readonly raw: { paths: Record<string, Record<string, Operation>> };
  /** `GET /v1/releases/{id}` of every route that has been asked. */
  readonly exercised = new Set<string>();
  private readonly ajv = new Ajv2020({ strict: false, allErrors: true });

  constructor(raw: unknown) {
    this.raw = raw as ApiDocument['raw'];
    this.ajv.addFormat('date-time', (text) => !Number.isNaN(Date.parse(text)) && text.includes('T'));
    this.ajv.addFormat('uri', (text) => URL.canParse(text));
    this.ajv.addSchema(this.raw as object, 'openapi');
  }

  get routes(): string[] {
    return Object.entries(this.raw.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
  }

  /** Fails when the answer is not what the document says of its route. */
  check(method: string, path: string, status: number, contentType: string | null, body: unknown): void {
    const template = this.templateOf(path);
    if (template === undefined) return;
    const operation = this.raw.paths[template]?.[method.toLowerCase()];
    if (operation === undefined) return;
    this.exercised.add(`${method} ${template}`);
    const response = operation.responses[String(status)] ?? operation.responses.default;
    assert.ok(response, `${method} ${template} does not document ${status}`);
    if (status === 204) return;
    const type = (contentType ?? '').split(';', 1)[0] ?? '';
    const schema = response.content?.[type]?.schema;
    assert.ok(schema, `${method} ${template} does not document ${type} for ${status}`);
    const valid = this.ajv.validate(absolute(schema), body);
    assert.ok(valid, `${method} ${path} → ${status}: ${this.ajv.errorsText()} in ${JSON.stringify(body)}`);
  }

  private templateOf(path: string): string | undefined {
    const plain = path.split('?', 1)[0] ?? '';
    const matches = Object.keys(this.raw.paths).filter((template) =>
      new RegExp(`^${template.replace(/\{[^}]+\}/g, '[^/]+')}$`).test(plain),
    );
    return matches.sort((a, b) => a.split('{').length - b.split('{').length)[0];
  }
}

/** References into the document, for a schema that is taken out of it. */
function absolute(schema: object): object {
  return JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"openapi#/')) as object;
}
