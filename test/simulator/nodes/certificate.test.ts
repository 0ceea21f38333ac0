import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import { selfSigned } from '../../../simulator/nodes/certificate.ts';

describe('a self-signed certificate', () => {
  it('is one for the addresses, signed by its own key, valid for a year', () => {
    const now = Date.UTC(2026, 10, 21, 12, 0, 0);
    for (let round = 0; round < 20; round++) {
      const { key, cert } = selfSigned('system:node:gpu-1', ['10.244.0.1', '127.0.0.1'], now);
      const certificate = new X509Certificate(cert);
      assert.equal(certificate.subject, 'CN=system:node:gpu-1');
      assert.equal(certificate.subjectAltName, 'IP Address:10.244.0.1, IP Address:127.0.0.1');
      assert.ok(certificate.checkIP('10.244.0.1'));
      assert.ok(certificate.checkPrivateKey(createPrivateKey(key)));
      assert.ok(certificate.verify(certificate.publicKey));
      assert.equal(certificate.validFromDate.getTime(), now - 3_600_000);
      assert.equal(certificate.validToDate.getTime(), now + 365 * 86_400_000);
    }
  });
});
