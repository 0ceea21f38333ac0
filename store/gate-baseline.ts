import type { GateBaseline, GatePolicy } from '../domain/gate/types.ts';
import type { Database } from './database.ts';

export interface BaselineSubject {
  application: string;
  gate: GatePolicy;
  /** ms since 1970 */
  now: number;
}

export async function readBaseline(_db: Database, _subject: BaselineSubject): Promise<GateBaseline | null> {
  return null;
}
