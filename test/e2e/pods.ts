import assert from 'node:assert/strict';
import { CoreV1Api, KubeConfig, KubernetesObjectApi } from '@kubernetes/client-node';
import { kindsOfServing, selectorOf, servingsSelector } from '../../domain/kubernetes/objects.ts';
import { servingName } from '../../domain/serving/serving.ts';
import { getRelease } from '../../store/releases.ts';
import { getRevision } from '../../store/revisions.ts';
import { findRoute } from '../../store/routes.ts';
import type { Running } from './dsl.ts';
import { APPLICATION, type World } from './world.ts';

const NAMESPACE = 'slipway';

function admin({ stack }: World): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(stack.cluster?.control?.kubeconfig ?? '');
  return config;
}

/** Every object of every serving, as `Kind/name`, pods as `Pod/`; sorted. */
export async function servingObjects(world: World, selector = servingsSelector): Promise<string[]> {
  const config = admin(world);
  const objects = KubernetesObjectApi.makeApiClient(config);
  const found: string[] = [];
  for (const { apiVersion, kind, optional } of kindsOfServing) {
    if (optional) continue;
    const { items } = await objects.list(
      apiVersion,
      kind,
      NAMESPACE,
      undefined,
      undefined,
      undefined,
      undefined,
      selector,
    );
    found.push(...items.map(({ metadata }) => `${kind}/${metadata?.name}`));
  }
  return [...found, ...(await podNames(world, selector)).map((name) => `Pod/${name}`)].sort();
}

export async function podNames(world: World, labelSelector = servingsSelector): Promise<string[]> {
  const { items } = await admin(world)
    .makeApiClient(CoreV1Api)
    .listNamespacedPod({ namespace: NAMESPACE, labelSelector });
  return items.map(({ metadata }) => metadata?.name ?? '');
}

/** Pods of the release's candidate. */
export async function candidatePods({ world, id }: Running): Promise<string[]> {
  return podNames(world, selectorOf(await candidateServing({ world, id })));
}

async function candidateServing({ world, id }: Pick<Running, 'world' | 'id'>): Promise<string> {
  const { candidate } = await getRelease(world.db, id);
  return (await getRevision(world.db, candidate)).serving;
}

/** Whole servings only, and only what the route serves from: one Deployment and no pod too many, nothing of any other serving. */
export async function onlyTheRouteIsServed({ world }: Running): Promise<void> {
  const route = await findRoute(world.db, APPLICATION);
  const { serving, runtime } = await getRevision(world.db, route?.stable ?? '');
  const name = servingName(serving);
  const objects = await servingObjects(world);
  const pods = objects.filter((object) => object.startsWith('Pod/'));
  assert.deepEqual(
    objects.filter((object) => !object.startsWith('Pod/')),
    ['Deployment', 'NetworkPolicy', 'PodDisruptionBudget', 'Service', 'ServiceAccount'].map(
      (kind) => `${kind}/${name}`,
    ),
  );
  assert.equal(pods.length, runtime.replicas, objects.join(', '));
  for (const pod of pods) assert.ok(pod.startsWith(`Pod/${name}-`), objects.join(', '));
}

/** Not one object of the candidate's serving is left. */
export async function nothingOfTheCandidateIsLeft({ world, id }: Running): Promise<void> {
  assert.deepEqual(await servingObjects(world, selectorOf(await candidateServing({ world, id }))), []);
}
