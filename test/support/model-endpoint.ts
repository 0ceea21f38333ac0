import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** What a model endpoint was asked, as far as tests look at it. */
export interface AskedRequest {
  model: string;
  messages: { role: string; content: string }[];
  [key: string]: unknown;
}

/** A text; a choice of the judge's tool; a status with OpenAI's error; or `hang`: no answer at all. */
export type Reply = string | { choice: string; reasons?: string } | { status: number } | 'hang';

export interface ModelEndpoint {
  /** Base URL without `/v1`. */
  url: string;
  asked: AskedRequest[];
  stop: () => Promise<void>;
}

/** A server that speaks just enough of OpenAI's chat completions, and answers as it is told. */
export async function startModelEndpoint(
  reply: (request: AskedRequest) => Reply | Promise<Reply>,
): Promise<ModelEndpoint> {
  const asked: AskedRequest[] = [];
  const server = createServer(async (incoming: IncomingMessage, outgoing) => {
    if (incoming.method === 'GET') {
      outgoing.end('{}'); // healthy
      return;
    }
    const request = JSON.parse(await text(incoming)) as AskedRequest;
    asked.push(request);
    const said = await reply(request);
    if (said === 'hang') return;
    const refused = typeof said === 'object' && 'status' in said;
    outgoing.writeHead(refused ? said.status : 200, { 'content-type': 'application/json' });
    outgoing.end(JSON.stringify(refused ? { error: { message: 'no', type: 'bad' } } : completion(said)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function completion(said: string | { choice: string; reasons?: string }): object {
  const call = {
    id: 'c',
    type: 'function',
    function: { name: 'select_choice', arguments: JSON.stringify(said) },
  };
  const message =
    typeof said === 'string'
      ? { role: 'assistant', content: said }
      : { role: 'assistant', content: null, tool_calls: [call] };
  return {
    id: 'x',
    object: 'chat.completion',
    created: 1,
    model: 'm',
    choices: [{ index: 0, message, finish_reason: 'stop' }],
  };
}
