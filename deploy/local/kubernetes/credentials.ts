import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

/** Who knows the API server by a token of its own, with the names that Kubernetes' built-in roles are bound to. */
const USERS = {
  admin: { user: 'slipway-admin', groups: 'system:masters' },
  controllerManager: { user: 'system:kube-controller-manager', groups: '' },
  scheduler: { user: 'system:kube-scheduler', groups: '' },
} as const;

type Role = keyof typeof USERS;

/** Files and secrets of one control plane; made once, and the same after a restart. */
export interface Credentials {
  tokens: Readonly<Record<Role, string>>;
  /** `TOKEN,USER,UID,"GROUPS"` lines, for the API server. */
  tokenFile: string;
  /** Signs the tokens of ServiceAccounts; PEM. */
  serviceAccountKey: string;
  /** Where the API server keeps the serving certificate that it makes for itself. */
  certificateFolder: string;
  /** That certificate and the one of the authority that signed it; PEM. Exists once the API server has started. */
  certificateFile: string;
}

/** What nobody but the owner of the state may read. */
export function writeSecret(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
}

function tokensIn(file: string): Record<Role, string> {
  let tokens: Partial<Record<Role, string>> = {};
  if (existsSync(file)) tokens = JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<Role, string>>;
  const token = (role: Role): string => tokens[role] ?? randomBytes(24).toString('base64url');
  const all = {
    admin: token('admin'),
    controllerManager: token('controllerManager'),
    scheduler: token('scheduler'),
  };
  writeSecret(file, JSON.stringify(all));
  return all;
}

/** The API server makes a certificate for a year where there is none, and never looks at the age of one. */
function removeOldCertificate(folder: string, certificate: string): void {
  if (!existsSync(certificate)) return;
  const { validToDate } = new X509Certificate(readFileSync(certificate));
  const week = 7 * 24 * 3_600_000;
  if (validToDate.getTime() - Date.now() < week) rmSync(folder, { recursive: true });
}

/** The credentials kept in the folder; those that are missing are made. */
export function credentialsIn(folder: string): Credentials {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const tokens = tokensIn(join(folder, 'tokens.json'));
  const tokenFile = join(folder, 'tokens.csv');
  const roles = Object.keys(USERS) as Role[];
  const line = (role: Role): string =>
    `${tokens[role]},${USERS[role].user},${role},"${USERS[role].groups}"\n`;
  writeSecret(tokenFile, roles.map(line).join(''));
  const serviceAccountKey = join(folder, 'service-account.key');
  if (!existsSync(serviceAccountKey)) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeSecret(serviceAccountKey, privateKey.export({ type: 'sec1', format: 'pem' }).toString());
  }
  const certificateFolder = join(folder, 'serving');
  const certificateFile = join(certificateFolder, 'apiserver.crt');
  removeOldCertificate(certificateFolder, certificateFile);
  return { tokens, tokenFile, serviceAccountKey, certificateFolder, certificateFile };
}

/** Writes a kubeconfig that holds all that a client needs: address, authority and token. */
export function writeKubeconfig(file: string, url: string, certificateFile: string, token: string): void {
  const authority = readFileSync(certificateFile).toString('base64');
  const name = 'slipway-local';
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: url, 'certificate-authority-data': authority } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  writeSecret(file, stringify(config));
}
