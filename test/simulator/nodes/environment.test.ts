import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import { type Lookups, missingVolume, resolvedEnvironment } from '../../../simulator/nodes/environment.ts';

const pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u', labels: { 'slipway.dev/serving': 'abc' } },
  spec: { nodeName: 'gpu-1', containers: [] },
};
const lookups: Lookups = {
  secret: async (name) => (name === 'token' ? { key: 's3cret', other: 'o' } : undefined),
  configMap: async (name) => (name === 'settings' ? { key: 'c' } : undefined),
};
const resolved = (env: V1EnvVar[], more: Partial<V1Container> = {}) =>
  resolvedEnvironment({ name: 'c', env, ...more }, pod, { podIP: '10.0.0.1', hostIP: '10.0.0.2' }, lookups);

describe("a container's environment", () => {
  it('holds values, references to earlier ones, secrets, config maps and fields', async () => {
    const env: V1EnvVar[] = [
      { name: 'A', value: 'a' },
      { name: 'B', value: '$(A)$(C)' },
      { name: 'C', valueFrom: { secretKeyRef: { name: 'token', key: 'key' } } },
      { name: 'D', valueFrom: { configMapKeyRef: { name: 'settings', key: 'key' } } },
      { name: 'E', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
      { name: 'F', valueFrom: { fieldRef: { fieldPath: "metadata.labels['slipway.dev/serving']" } } },
      { name: 'G', valueFrom: { secretKeyRef: { name: 'none', key: 'key', optional: true } } },
      { name: 'H' },
    ];
    assert.deepEqual(await resolved(env, { envFrom: [{ prefix: 'T_', secretRef: { name: 'token' } }] }), {
      T_key: 's3cret',
      T_other: 'o',
      A: 'a',
      B: 'a$(C)',
      C: 's3cret',
      D: 'c',
      E: '10.0.0.1',
      F: 'abc',
      H: '',
    });
  });

  it("says what is missing in a kubelet's words", async () => {
    const secret = (name: string, key: string) =>
      resolved([{ name: 'A', valueFrom: { secretKeyRef: { name, key } } }]);
    await assert.rejects(secret('none', 'key'), { name: 'ConfigError', message: 'secret "none" not found' });
    await assert.rejects(secret('token', 'none'), { message: "couldn't find key none in Secret ns/token" });
    await assert.rejects(resolved([{ name: 'A', valueFrom: { configMapKeyRef: { name: 'x', key: 'k' } } }]), {
      message: 'configmap "x" not found',
    });
    await assert.rejects(resolved([], { envFrom: [{ secretRef: { name: 'x' } }] }), {
      message: 'secret "x" not found',
    });
    await assert.rejects(resolved([{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.none' } } }]), {
      message: 'unsupported fieldPath: spec.none',
    });
  });
});

describe("a pod's volumes", () => {
  it('wait for their secrets and config maps', async () => {
    const withVolumes = (volumes: object[]) => ({
      ...pod,
      spec: { ...pod.spec, volumes: volumes as never[] },
    });
    assert.equal(
      await missingVolume(withVolumes([{ name: 'v', secret: { secretName: 'token' } }]), lookups),
      undefined,
    );
    assert.equal(
      await missingVolume(
        withVolumes([
          { name: 'shm', emptyDir: {} },
          { name: 'v', secret: { secretName: 'x' } },
        ]),
        lookups,
      ),
      'MountVolume.SetUp failed for volume "v" : secret "x" not found',
    );
    assert.equal(
      await missingVolume(withVolumes([{ name: 'v', configMap: { name: 'x', optional: true } }]), lookups),
      undefined,
    );
  });
});
