import { SlipwayError } from '../domain/errors.ts';

/** An error as OpenAI's clients expect it. */
export interface OpenAiError {
  error: { message: string; type: string; param: string | null; code: string | null };
}

/** OpenAI's error type for an HTTP status. */
export function errorType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** Slipway's errors in OpenAI's shape: our code, the field as `param`, what to do at the end of the message. */
export function openAiError(error: SlipwayError): OpenAiError {
  const { field, remedy } = error.details;
  const message = error.message.replace(/^./, (letter) => letter.toUpperCase());
  return {
    error: {
      message: remedy === undefined ? message : `${message}. ${remedy}`,
      type: errorType(error.status),
      param: field ?? null,
      code: error.code,
    },
  };
}

/** Any failure of the gateway as an error that users may see: what we did not foresee tells nothing of its text. */
export function asSlipwayError(error: unknown): SlipwayError {
  if (error instanceof SlipwayError) return error;
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  if (status === 413) {
    return new SlipwayError('REQUEST_INVALID', 'the request is too large', { remedy: 'Send less text' });
  }
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return new SlipwayError('REQUEST_INVALID', 'the body is not valid JSON', {
      field: 'body',
      remedy: 'Send a JSON object with content-type application/json',
    });
  }
  return new SlipwayError('INTERNAL', 'the gateway failed', {}, { cause: error });
}
