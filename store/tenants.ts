import type { Queryable } from './database.ts';

/** Every tenant key that lets somebody in: hash of the key → tenant. A gateway keeps them, so that an outage here locks nobody out. */
export async function readTenantKeys(db: Queryable): Promise<Map<string, string>> {
  const { rows } = await db.query<{ hash: string; tenant: string }>(
    'select hash, tenant from tenant_keys where revoked_at is null',
  );
  return new Map(rows.map((row) => [row.hash, row.tenant]));
}
