import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import type { V1Container, V1HTTPGetAction, V1Probe } from '@kubernetes/client-node';

/** Undefined is health; a text says, in a kubelet's words, what is wrong. */
export type ProbeOutcome = string | undefined;

export async function probeOnce(
  probe: V1Probe,
  container: V1Container,
  podIP: string,
): Promise<ProbeOutcome> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  if (probe.httpGet) return httpGet(probe.httpGet, container, podIP, timeoutMs);
  if (probe.tcpSocket) {
    const port = portOf(probe.tcpSocket.port, container);
    if (port === undefined) return `couldn't find port: ${probe.tcpSocket.port}`;
    return tcpSocket(probe.tcpSocket.host || podIP, port, timeoutMs);
  }
  return 'a simulated node probes with httpGet and tcpSocket only';
}

/** The number of a port that is given by number or by the name of a container's port. */
export function portOf(port: number | string, container: V1Container): number | undefined {
  const number = Number(port);
  if (Number.isInteger(number)) return number > 0 && number < 65_536 ? number : undefined;
  return container.ports?.find(({ name }) => name === port)?.containerPort;
}

export async function httpGet(
  action: V1HTTPGetAction,
  container: V1Container,
  podIP: string,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const port = portOf(action.port, container);
  if (port === undefined) return `couldn't find port: ${action.port}`;
  const secure = action.scheme === 'HTTPS';
  const path = action.path ?? '/';
  const host = action.host || podIP;
  const url = `${secure ? 'https' : 'http'}://${host}:${port}${path.startsWith('/') ? path : `/${path}`}`;
  const headers: Record<string, string> = {
    'user-agent': 'kube-probe/1.34',
    accept: '*/*',
    connection: 'close',
  };
  for (const { name, value } of action.httpHeaders ?? []) headers[name.toLowerCase()] = value;
  const request = secure
    ? httpsRequest(url, { headers, agent: false, rejectUnauthorized: false })
    : httpRequest(url, { headers, agent: false });
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      resolve(`Get "${url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`);
      request.destroy();
    }, timeoutMs);
    const end = (outcome: ProbeOutcome) => {
      clearTimeout(late);
      resolve(outcome);
    };
    request.on('error', (error) => end(`Get "${url}": ${networkError(error, host, port)}`));
    request.on('response', (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      end(status >= 200 && status < 400 ? undefined : `HTTP probe failed with statuscode: ${status}`);
    });
    request.end();
  });
}

function tcpSocket(host: string, port: number, timeoutMs: number): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const end = (outcome: ProbeOutcome) => {
      socket.destroy();
      resolve(outcome);
    };
    socket.once('connect', () => end(undefined));
    socket.once('timeout', () => end(`dial tcp ${host}:${port}: i/o timeout`));
    socket.once('error', (error) => end(networkError(error, host, port)));
  });
}

function networkError(error: NodeJS.ErrnoException, host: string, port: number): string {
  if (error.code === 'ECONNREFUSED') return `dial tcp ${host}:${port}: connect: connection refused`;
  if (error.code === 'ECONNRESET') return `read tcp ${host}:${port}: read: connection reset by peer`;
  return error.message;
}
