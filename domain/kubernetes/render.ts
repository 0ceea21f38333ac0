import type { WantedServing } from '../serving/serving.ts';
import { serviceAccount } from './account.ts';
import { autoscaler } from './autoscaling.ts';
import { deployment } from './deployment.ts';
import { disruptionBudget } from './disruption.ts';
import { networkPolicy } from './network.ts';
import type { KubernetesObject } from './objects.ts';
import { service } from './service.ts';
import type { ClusterSettings } from './settings.ts';

/**
 * The objects of a serving, in the order in which they are applied (that of `kindsOfServing`). The same input gives the same objects.
 * @throws SlipwayError INPUT_INVALID when the settings lack what the runtime needs: its GPU kind, an image
 */
export function renderServing(
  serving: WantedServing,
  settings: ClusterSettings,
  cluster: { keda: boolean },
): KubernetesObject[] {
  return [
    serviceAccount(serving, settings),
    networkPolicy(serving, settings),
    service(serving, settings),
    disruptionBudget(serving, settings),
    deployment(serving, settings),
    ...autoscaler(serving, settings, cluster),
  ];
}
