import { kindsOfServing } from '../../../domain/kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import type { Cluster } from './context.ts';
import { neededPermissions, type Permission } from './permissions.ts';

export interface AccessReview {
  /** Verbs on resources without which nothing can be served. */
  asked: number;
  /** `create deployments.apps` and the like: what is needed and not allowed. */
  missing: string[];
  /** What only makes explanations better, and is not allowed. */
  lacking: string[];
}

interface Review {
  status: { allowed: boolean };
}

/** Asks the API server, verb by verb, what the credentials in use may do. */
export async function reviewPermissions(cluster: Cluster): Promise<AccessReview> {
  const review = await reviewNow(cluster);
  if (review.missing.length === 0) return review;
  // One that was started just now refuses everything until it knows its roles.
  await cluster.client.settled();
  return reviewNow(cluster);
}

async function reviewNow(cluster: Cluster): Promise<AccessReview> {
  const present = await presentPermissions(cluster);
  const asked = present.flatMap((permission) => permission.verbs.map((verb) => ({ permission, verb })));
  const answers = await Promise.all(
    asked.map(async ({ permission, verb }) => {
      const [resource, subresource] = permission.resource.split('/');
      const { group, clusterWide } = permission;
      const { status } = await cluster.client.create<Review>(resources.accessReviews, undefined, {
        apiVersion: resources.accessReviews.apiVersion,
        kind: resources.accessReviews.kind,
        spec: {
          resourceAttributes: {
            verb,
            group,
            resource,
            ...(subresource !== undefined && { subresource }),
            ...(!clusterWide && { namespace: cluster.settings.namespace }),
          },
        },
      });
      return { permission, verb, allowed: status.allowed };
    }),
  );
  const refused = (needed: boolean): string[] =>
    answers
      .filter(({ permission, allowed }) => !allowed && permission.needed === needed)
      .map(({ permission, verb }) => `${verb} ${nameOf(permission)}`);
  return {
    asked: asked.filter(({ permission }) => permission.needed).length,
    missing: refused(true),
    lacking: refused(false),
  };
}

/** Without those on an API that the cluster does not have. */
async function presentPermissions({ client }: Cluster): Promise<Permission[]> {
  const absent = new Set<string>();
  for (const kind of kindsOfServing.filter(({ optional }) => optional)) {
    if (!(await client.knows(kind))) absent.add(`${kind.plural}.${kind.group}`);
  }
  return neededPermissions.filter(({ group, resource }) => !absent.has(`${resource}.${group}`));
}

const nameOf = ({ group, resource, clusterWide }: Permission): string =>
  `${group === '' ? resource : `${resource}.${group}`}${clusterWide ? ' of the whole cluster' : ''}`;
