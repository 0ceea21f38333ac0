import assert from 'node:assert/strict';
import { type RequestOptions, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { ApiextensionsV1Api, type V1CustomResourceDefinition } from '@kubernetes/client-node';
import { waitUntil } from '../../../deploy/local/probe.ts';
import { FIELD_MANAGER, type KubernetesObject, kindsOfServing } from '../../../domain/kubernetes/objects.ts';
import { renderServing } from '../../../domain/kubernetes/render.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { renderings } from './cases.ts';

let kubernetes: TestKubernetes;

before(async () => {
  // What KEDA brings would be there for all tests that share a control plane.
  kubernetes = await startKubernetes({ own: true });
  await kubernetes.admin
    .makeApiClient(ApiextensionsV1Api)
    .createCustomResourceDefinition({ body: scaledObjects });
});
after(() => kubernetes.stop());

/** Server-side apply as the adapter does it, judged strictly, without an effect. */
async function dryRun(object: KubernetesObject): Promise<{ status: number; body: string; warnings: string }> {
  const kind = kindsOfServing.find((known) => known.kind === object.kind);
  assert.ok(kind, object.kind);
  const { name, namespace } = object.metadata;
  const base = kind.group === '' ? `/api/${kind.apiVersion}` : `/apis/${kind.apiVersion}`;
  const query = `fieldManager=${FIELD_MANAGER}&force=true&dryRun=All&fieldValidation=Strict`;
  const options: RequestOptions = {
    method: 'PATCH',
    headers: { 'content-type': 'application/apply-patch+yaml' },
  };
  await kubernetes.admin.applyToHTTPSOptions(options);
  const url = new URL(`${base}/namespaces/${namespace}/${kind.plural}/${name}?${query}`, kubernetes.url);
  return new Promise((resolve, reject) => {
    const sent = request(url, options, async (response) => {
      const warnings = String(response.headers.warning ?? '');
      resolve({ status: response.statusCode ?? 0, body: await text(response), warnings });
    });
    sent.once('error', reject);
    sent.end(JSON.stringify(object));
  });
}

for (const [name, { serving, settings, keda }] of Object.entries(renderings)) {
  test(`${name}: the API server takes every field, and warns of none`, async () => {
    const namespace = await kubernetes.createNamespace({ 'pod-security.kubernetes.io/warn': 'restricted' });
    const objects = renderServing(serving, { ...settings, namespace }, { keda });
    for (const object of objects) {
      const { status, body, warnings } = await waitUntil(
        `${object.kind} is known`,
        async () => {
          const answer = await dryRun(object);
          return answer.status === 404 ? undefined : answer;
        },
        { timeoutMs: PATIENCE_MS },
      );
      assert.ok(status === 200 || status === 201, `${object.kind}: ${status} ${body}`);
      // A closed cluster's folder of the node and root are what Pod Security warns of, rightly.
      if (settings.runAsUser !== 0) assert.equal(warnings, '', object.kind);
      assertTaken(object, JSON.parse(body), object.kind);
    }
  });
}

test('a field that the API does not have is refused: the test would see it', async () => {
  const { serving, settings } = Object.values(renderings)[0] ?? assert.fail('there are renderings');
  const namespace = await kubernetes.createNamespace();
  const [account] = renderServing(serving, { ...settings, namespace }, { keda: false });
  assert.ok(account);
  const { status, body } = await dryRun({ ...account, imagePullSecret: 'x' });
  assert.ok(status >= 400, `${status}`);
  assert.match(body, /imagePullSecret: field not declared/);
});

/** Nothing is dropped or written otherwise: what comes back holds what was sent. */
function assertTaken(sent: unknown, taken: unknown, path: string): void {
  if (typeof sent !== 'object' || sent === null) {
    assert.deepEqual(taken, sent, path);
    return;
  }
  if (Object.keys(sent).length === 0 && taken === undefined) return;
  assert.ok(typeof taken === 'object' && taken !== null, `${path} is gone`);
  for (const [key, value] of Object.entries(sent)) {
    assertTaken(value, (taken as Record<string, unknown>)[key], `${path}.${key}`);
  }
}

/** KEDA's own definition, as far as a ScaledObject of ours goes. */
const rules = {
  type: 'object',
  properties: {
    stabilizationWindowSeconds: { type: 'integer' },
    selectPolicy: { type: 'string' },
    policies: {
      type: 'array',
      items: {
        type: 'object',
        required: ['periodSeconds', 'type', 'value'],
        properties: {
          periodSeconds: { type: 'integer' },
          type: { type: 'string' },
          value: { type: 'integer' },
        },
      },
    },
  },
};

const scaledObjects: V1CustomResourceDefinition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'scaledobjects.keda.sh' },
  spec: {
    group: 'keda.sh',
    scope: 'Namespaced',
    names: {
      kind: 'ScaledObject',
      listKind: 'ScaledObjectList',
      plural: 'scaledobjects',
      singular: 'scaledobject',
    },
    versions: [
      {
        name: 'v1alpha1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            required: ['spec'],
            properties: {
              spec: {
                type: 'object',
                required: ['scaleTargetRef', 'triggers'],
                properties: {
                  scaleTargetRef: {
                    type: 'object',
                    required: ['name'],
                    properties: {
                      apiVersion: { type: 'string' },
                      kind: { type: 'string' },
                      name: { type: 'string' },
                    },
                  },
                  minReplicaCount: { type: 'integer' },
                  maxReplicaCount: { type: 'integer' },
                  advanced: {
                    type: 'object',
                    properties: {
                      horizontalPodAutoscalerConfig: {
                        type: 'object',
                        properties: {
                          behavior: { type: 'object', properties: { scaleUp: rules, scaleDown: rules } },
                        },
                      },
                    },
                  },
                  triggers: {
                    type: 'array',
                    items: {
                      type: 'object',
                      required: ['metadata', 'type'],
                      properties: {
                        type: { type: 'string' },
                        metricType: { type: 'string' },
                        metadata: { type: 'object', additionalProperties: { type: 'string' } },
                      },
                    },
                  },
                },
              },
            },
          },
        },
      },
    ],
  },
};
