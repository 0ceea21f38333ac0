import type { WantedServing } from '../serving/serving.ts';
import { type KubernetesObject, metadataOf, PORT, servingSelector } from './objects.ts';
import type { ClientSelector, ClusterSettings } from './settings.ts';

/** Only its clients reach the serving, and it reaches only DNS and where weights come from. Probes come from the node and always pass. */
export function networkPolicy(serving: WantedServing, settings: ClusterSettings): KubernetesObject {
  const { clients, modelHub, namespace } = settings;
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadataOf(serving, namespace),
    spec: {
      podSelector: { matchLabels: servingSelector(serving.digest) },
      policyTypes: ['Ingress', 'Egress'],
      // A rule with an empty `from` would let in everybody.
      ingress:
        clients.length === 0
          ? []
          : [{ from: clients.map(peer), ports: [{ protocol: 'TCP', port: PORT.name }] }],
      egress: [
        {
          ports: [
            { protocol: 'UDP', port: 53 },
            { protocol: 'TCP', port: 53 },
          ],
        },
        ...(modelHub === null
          ? []
          : [
              {
                to: modelHub.cidrs.map((cidr) => ({ ipBlock: { cidr } })),
                ports: [{ protocol: 'TCP', port: modelHub.port }],
              },
            ]),
      ],
    },
  };
}

function peer({ pods, namespaces }: ClientSelector): Record<string, unknown> {
  return {
    podSelector: { matchLabels: pods },
    ...(namespaces !== undefined && { namespaceSelector: { matchLabels: namespaces } }),
  };
}
