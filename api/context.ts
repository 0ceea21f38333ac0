import type { Client } from '@temporalio/client';
import type { ClusterSettings } from '../domain/kubernetes/settings.ts';
import type { Database } from '../store/database.ts';

/** What the routes work with. */
export interface ApiContext {
  database: Database;
  temporal: Client;
  /** Where the release workers poll. */
  taskQueue: string;
  /** The cluster that servings run on; null: nobody said, so manifests show the default settings. */
  cluster: ClusterSettings | null;
}
