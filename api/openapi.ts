import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';
import {
  createJsonSchemaTransform,
  createJsonSchemaTransformObject,
  serializerCompiler,
} from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { durationPattern } from '../domain/duration.ts';
import { duration, positiveDuration, problemOf } from '../domain/validation.ts';
import { errorBody } from './errors.ts';

type Override = NonNullable<NonNullable<Parameters<typeof z.toJSONSchema>[1]>['override']>;

/** On the wire a date is a text in ISO 8601 and a duration is a text like `7d`, in both directions. */
const override: Override = ({ zodSchema, jsonSchema }) => {
  if (zodSchema === duration || zodSchema === positiveDuration) {
    for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
    Object.assign(jsonSchema, { type: 'string', pattern: durationPattern.source, examples: ['90s', '7d'] });
  }
  if (zodSchema._zod.def.type === 'date') Object.assign(jsonSchema, { type: 'string', format: 'date-time' });
};

/** Zod judges bodies, queries and answers, and describes them in the OpenAPI document at /openapi.json. */
export async function describeRoutes(app: FastifyInstance, version: string): Promise<void> {
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (data: unknown) => {
    const result = schema.safeParse(data);
    if (result.success) return { value: result.data };
    return { error: problemOf(schema, result.error.issues, data, 'INPUT_INVALID') };
  });
  app.setSerializerCompiler(serializerCompiler);
  app.addHook('onRoute', (route) => {
    const access = route.config?.access ?? [];
    route.schema = {
      ...route.schema,
      security: access === 'public' ? [] : [{ key: [] }],
      description: [
        route.schema?.description ?? '',
        access === 'public' ? 'Needs no key.' : `Roles: ${access.join(', ')}.`,
      ]
        .join('\n\n')
        .trim(),
      response: {
        ...(route.schema?.response as object | undefined),
        default: {
          description: 'A coded error that names the field and the remedy',
          content: { 'application/json': { schema: errorBody } },
        },
      },
    };
  });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Slipway',
        version,
        description: 'Releases of LLM prompts and models: started, watched, signed off, explained.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    },
    transform: createJsonSchemaTransform({ zodToJsonConfig: { override } }),
    transformObject: createJsonSchemaTransformObject({ zodToJsonConfig: { override } }),
  });
}
