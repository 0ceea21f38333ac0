import { createHmac } from 'node:crypto';
import type { Delivery, Notice, NoticeSink } from './notice.ts';

export interface WebhookOptions {
  url: string;
  /** Signs the body; left out: unsigned. */
  secret?: string | undefined;
  timeoutMs?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 5_000;

/**
 * Notices as POST of JSON. `idempotency-key` is the notice's id; `x-slipway-signature` is `sha256=` and the hex HMAC-SHA256 of the body
 * under the shared secret, as GitHub signs its webhooks. Redirects are not followed: a signed body goes where it was addressed.
 */
export function createWebhookSink({
  url,
  secret,
  timeoutMs = DEFAULT_TIMEOUT_MS,
}: WebhookOptions): NoticeSink {
  return {
    // The path of a webhook is often its key.
    name: `webhook ${URL.parse(url)?.host ?? '(not a URL)'}`,
    async deliver(notice: Notice): Promise<Delivery> {
      const body = JSON.stringify(notice);
      const headers: Record<string, string> = {
        'content-type': 'application/json',
        'idempotency-key': notice.id,
      };
      if (secret !== undefined) headers['x-slipway-signature'] = signatureOf(body, secret);
      if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
        return { kind: 'refused', message: 'the address is no http(s) URL' };
      }
      try {
        const signal = AbortSignal.timeout(timeoutMs);
        const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal });
        await response.body?.cancel();
        if (response.ok) return { kind: 'delivered' };
        const passing = response.status >= 500 || response.status === 429 || response.status === 408;
        return { kind: passing ? 'retry' : 'refused', message: `HTTP ${response.status}` };
      } catch (error) {
        return { kind: 'retry', message: reasonOf(error) };
      }
    },
  };
}

export function signatureOf(body: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it does not answer';
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return error.name === 'TimeoutError' ? 'timed out' : (code ?? 'it does not answer');
}
