import type { WantedServing } from '../serving/serving.ts';
import { type KubernetesObject, metadataOf, PORT, servingSelector } from './objects.ts';
import type { ClusterSettings } from './settings.ts';

/** Gateways follow the EndpointSlices that come with it; its own address is for people and probes. */
export function service(serving: WantedServing, { namespace }: ClusterSettings): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadataOf(serving, namespace),
    spec: {
      type: 'ClusterIP',
      selector: servingSelector(serving.digest),
      ports: [{ name: PORT.name, port: PORT.number, targetPort: PORT.name, protocol: 'TCP' }],
    },
  };
}
