import { createHash, randomBytes } from 'node:crypto';
import type { Role } from '../domain/words.ts';
import type { Queryable } from './database.ts';

/** A new secret key, 192 random bits; the store keeps its hash only, so it is shown once. */
export function newKey(): string {
  return `slw_${randomBytes(24).toString('base64url')}`;
}

/** Keys are random, so a plain hash is enough to keep them from a reader of the database. */
export function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** First hex digits of a key's hash: names the key to admins, and tells nothing about it. */
export function keyId(hash: string): string {
  return hash.slice(0, 12);
}

/** Who holds a key of the control plane; `name` is the person that sign-offs and audits show. */
export interface ApiKey {
  name: string;
  role: Role;
}

/** Keeps a control-plane key. Keeping a key again gives it this name and role, and revives it. */
export async function saveApiKey(db: Queryable, key: string, holder: ApiKey): Promise<void> {
  await db.query(
    `insert into api_keys (hash, name, role) values ($1, $2, $3)
     on conflict (hash) do update set name = excluded.name, role = excluded.role, revoked_at = null`,
    [hashKey(key), holder.name, holder.role],
  );
}

/** Holder of a control-plane key; null when it is unknown or revoked. */
export async function findApiKey(db: Queryable, key: string): Promise<ApiKey | null> {
  const { rows } = await db.query<ApiKey>(
    'select name, role from api_keys where hash = $1 and revoked_at is null',
    [hashKey(key)],
  );
  return rows[0] ?? null;
}

/** Keeps a key with which a tenant's applications talk to the gateway. */
export async function saveTenantKey(db: Queryable, key: string, tenant: string): Promise<void> {
  await db.query(
    `insert into tenant_keys (hash, tenant) values ($1, $2)
     on conflict (hash) do update set tenant = excluded.tenant, revoked_at = null`,
    [hashKey(key), tenant],
  );
}

export interface KeySummary {
  id: string;
  kind: 'control' | 'tenant';
  /** Name of the holder, or of the tenant. */
  name: string;
  role: Role | null;
  createdAt: Date;
  revokedAt: Date | null;
}

/** All keys, the newest first, without anything that would let one in. */
export async function listKeys(db: Queryable): Promise<KeySummary[]> {
  const { rows } = await db.query<Omit<KeySummary, 'id'> & { hash: string }>(
    `select hash, 'control' as kind, name, role, created_at as "createdAt", revoked_at as "revokedAt" from api_keys
     union all
     select hash, 'tenant', tenant, null, created_at, revoked_at from tenant_keys
     order by "createdAt" desc, hash`,
  );
  return rows.map(({ hash, ...key }) => ({ id: keyId(hash), ...key }));
}

/** Revokes the key with this id. @returns whether there was one that still let somebody in */
export async function revokeKey(db: Queryable, id: string): Promise<boolean> {
  const revoke = (table: 'api_keys' | 'tenant_keys') =>
    db.query(`update ${table} set revoked_at = now() where substr(hash, 1, 12) = $1 and revoked_at is null`, [
      id,
    ]);
  const results = [await revoke('api_keys'), await revoke('tenant_keys')];
  return results.some(({ rowCount }) => (rowCount ?? 0) > 0);
}
