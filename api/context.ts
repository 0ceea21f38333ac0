import type { Client } from '@temporalio/client';
import type { Database } from '../store/database.ts';

/** What the routes work with. */
export interface ApiContext {
  database: Database;
  temporal: Client;
  /** Where the release workers poll. */
  taskQueue: string;
}
