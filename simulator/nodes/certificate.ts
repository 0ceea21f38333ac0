import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

export interface Certificate {
  /** PEM. */
  key: string;
  /** PEM. */
  cert: string;
}

const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

/**
 * A self-signed certificate for the addresses, valid for a year. Node makes keys and signatures but no certificates; these few lines of
 * DER (RFC 5280) stand for a package of fifteen.
 */
export function selfSigned(name: string, addresses: readonly string[], now = Date.now()): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(objectId('2a8648ce3d040302')); // ecdsa-with-SHA256
  const distinguished = sequence(tagged(0x31, sequence(objectId('550403'), tagged(0x0c, Buffer.from(name))))); // CN
  const alternatives = sequence(
    ...addresses.map((address) => tagged(0x87, Buffer.from(address.split('.').map(Number)))),
  );
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))), // version 3
    integer(randomBytes(8)),
    algorithm,
    distinguished,
    sequence(time(now - HOUR_MS), time(now + YEAR_MS)),
    distinguished,
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(sequence(objectId('551d11'), tagged(0x04, alternatives)))), // subjectAltName
  );
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: pem(sequence(body, algorithm, tagged(0x03, Buffer.from([0]), sign('sha256', body, privateKey)))),
  };
}

function tagged(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

const sequence = (...contents: readonly Buffer[]): Buffer => tagged(0x30, ...contents);
const objectId = (hex: string): Buffer => tagged(0x06, Buffer.from(hex, 'hex'));

/** A positive one: its first bit is cleared, and its first byte is never zero. */
function integer(bytes: Buffer): Buffer {
  const positive = Buffer.from(bytes);
  positive[0] = ((positive[0] ?? 0) & 0x7f) | (bytes.length > 1 ? 0x40 : 0);
  return tagged(0x02, positive);
}

/** UTCTime, YYMMDDHHMMSSZ. */
function time(ms: number): Buffer {
  return tagged(0x17, Buffer.from(`${new Date(ms).toISOString().replace(/\D/g, '').slice(2, 14)}Z`));
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
