import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import pino from 'pino';
import type { Gateway } from '../../../gateway/gateway.ts';
import { encodeLine } from '../../../gateway/spool/lines.ts';
import { Mover } from '../../../gateway/spool/mover.ts';
import { Spool } from '../../../gateway/spool/spool.ts';
import { type Database, openDatabase } from '../../../store/database.ts';
import { startPostgres, type TestPostgres } from '../../support/stack.ts';
import { type FakeEngine, startFakeEngine } from '../fake-engine.ts';
import { setRoute, startTestGateway, storeRevision, temporaryState, tenantKey, until } from '../support.ts';

let postgres: TestPostgres;
let db: Database;
let engine: FakeEngine;
let key: string;
let state: ReturnType<typeof temporaryState>;
let gateway: Gateway | undefined;

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  engine = await startFakeEngine();
  const { digest } = await storeRevision(db, { name: 'plain', endpoints: [engine.url] });
  await setRoute(db, { application: 'support', stable: digest });
  key = await tenantKey(db, 'shop');
});

after(async () => {
  await engine.stop();
  await db.end();
  await postgres.stop();
});

beforeEach(() => {
  state = temporaryState();
});

afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
  state.remove();
});

const ask = (url: string, more: object = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: 'support', messages: [{ role: 'user', content: 'Hello' }], ...more }),
  });

/** Status of an answer, or `cut` if it had no clean end. */
const endOf = (response: Promise<Response>): Promise<string> =>
  response.then(async (answered) => `${answered.status} ${await answered.text()}`).catch(() => 'cut');

/** Keeps the ledger's lock, so that nothing can be moved, while `work` runs. */
async function withLedgerLocked(work: () => Promise<void>): Promise<void> {
  const holder = await db.connect();
  try {
    await holder.query('begin');
    await holder.query('select batch from ledger_state for update');
    await work();
  } finally {
    await holder.query('rollback');
    holder.release();
  }
}

describe('a full spool', () => {
  it('refuses new requests with 503 before anything is sent upstream, and takes them when there is room', async () => {
    gateway = await startTestGateway({
      databaseUrl: postgres.url,
      stateFolder: state.path,
      spoolBytes: 20_000,
    });
    const { url, metricsUrl } = gateway;
    await withLedgerLocked(async () => {
      const refused = await until(
        async () => {
          const response = await ask(url);
          return {
            status: response.status,
            retry: response.headers.get('retry-after'),
            text: await response.text(),
          };
        },
        ({ status }) => status === 503,
        'a full spool',
      );
      assert.match(refused.text, /"code":"SPOOL_FULL"/);
      assert.equal(refused.retry, '1');
      const asked = engine.requests.length;
      assert.equal((await ask(url)).status, 503);
      assert.equal(engine.requests.length, asked);
    });
    await until(
      async () => (await ask(url)).status,
      (status) => status === 200,
      'room in the spool',
    );
    assert.match(
      await (await fetch(metricsUrl)).text(),
      /llm_requests_failed_total\{.*reason="spool_full"\} [1-9]/,
    );
  });
});

describe('a disk that takes no record', () => {
  it('lets no answer end well, streamed or not, and no new request begin, until it takes them again', async () => {
    gateway = await startTestGateway({ databaseUrl: postgres.url, stateFolder: state.path });
    const { url, metricsUrl } = gateway;
    const folder = `${state.path}/spool`;
    const answered = async (): Promise<void> => {
      await until(
        () => endOf(ask(url)),
        (end) => end.startsWith('200'),
        'an answer',
      );
    };
    for (const stream of [false, true]) {
      await answered();
      // A segment that is open would still be written.
      await until(
        async () => (await fetch(metricsUrl)).text(),
        (text) => /^slipway_spool_bytes 0$/m.test(text),
        'an empty spool',
      );
      renameSync(folder, `${folder}-away`);
      writeFileSync(folder, 'no folder');
      assert.equal(await endOf(ask(url, { stream })), 'cut');
      assert.match(await endOf(ask(url, { stream })), /^503 .*SPOOL_FULL/);
      rmSync(folder);
      renameSync(`${folder}-away`, folder);
    }
    await answered();
  });
});

describe('the mover', () => {
  const sample = (id: string, more: object = {}) => ({
    id: `0190f5a0-0000-7000-8000-00000000000${id}`,
    at: Date.UTC(2026, 0, 5),
    tenant: 'shop',
    application: 'support',
    release: null,
    arm: 'stable',
    user: 'mover-user',
    stratum: 0,
    revision: 'r',
    endpoint: null,
    status: 200,
    reason: null,
    failed: false,
    interrupted: false,
    streamed: false,
    finishReason: null,
    violations: 0,
    latency: 1,
    ttft: null,
    tpot: null,
    cost: null,
    promptTokens: null,
    completionTokens: null,
    cachedTokens: null,
    scoring: null,
    ...more,
  });

  const moverOf = (spool: Spool, onMoved: (result: object) => void = () => {}) =>
    new Mover({
      spool,
      database: db,
      refusedFile: `${state.path}/refused`,
      logger: pino({ level: 'silent' }),
      onMoved,
    });

  it('moves what a killed process left, twice without harm, and keeps aside what the ledger refuses', async () => {
    const moved: object[] = [];
    const lines = Buffer.concat([
      encodeLine(sample('1')),
      encodeLine(sample('2', { status: null })),
      encodeLine(sample('3')),
      Buffer.from('0badbeef {"id":"torn'),
    ]);
    for (let run = 0; run < 2; run++) {
      writeFileSync(`${state.path}/00000000000001-1-00000001.jsonl`, lines);
      const spool = new Spool({ folder: state.path, maxBytes: 1e6 });
      await moverOf(spool, (result) => moved.push(result)).moveAll();
      assert.equal(spool.bytes, 0);
      spool.close();
    }
    assert.deepEqual(moved, [
      { inserted: 2, replayed: 0, refused: 1, torn: 1 },
      { inserted: 0, replayed: 2, refused: 1, torn: 1 },
    ]);
    const { rows } = await db.query(
      `select requests from user_strata s join ledger_users u on u.id = s.user_id where u.key = 'mover-user'`,
    );
    assert.deepEqual(rows, [{ requests: 2 }]);
    assert.match(readFileSync(`${state.path}/refused`, 'utf8'), /000000000002/);
  });

  it('keeps aside records that no ledger can take, whatever says so', async () => {
    const lines = [
      sample('4', { user: 'aside' }),
      sample('5', { at: 1e300 }),
      // An entry of an index holds no key so long, and hex digits do not shrink.
      sample('6', { user: randomBytes(20_000).toString('hex') }),
      sample('7', { user: 'aside' }),
    ];
    writeFileSync(`${state.path}/00000000000001-1-00000001.jsonl`, Buffer.concat(lines.map(encodeLine)));
    const spool = new Spool({ folder: state.path, maxBytes: 1e6 });
    const moved: object[] = [];
    await moverOf(spool, (result) => moved.push(result)).moveAll();
    assert.deepEqual(moved, [{ inserted: 2, replayed: 0, refused: 2, torn: 0 }]);
    assert.equal(spool.bytes, 0);
    spool.close();
  });

  it('lets others go before a segment that cannot be moved now', async () => {
    const write = (name: string, ...records: object[]) =>
      writeFileSync(
        `${state.path}/0000000000000${name}-1-00000001.jsonl`,
        Buffer.concat(records.map(encodeLine)),
      );
    write('1', sample('8', { tenant: 'unlucky' }));
    write('2', sample('9', { user: 'behind' }));
    // As any failure that does not say that it is the record's.
    await db.query(
      `create function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'no' using errcode = '58030'; end $$;
       create trigger refuse before insert on samples for each row when (new.tenant = 'unlucky') execute function refuse()`,
    );
    const spool = new Spool({ folder: state.path, maxBytes: 1e6 });
    const mover = moverOf(spool);
    await assert.rejects(mover.moveAll(), { code: '58030' });
    await assert.rejects(mover.moveAll(), { code: '58030' });
    const { rows } = await db.query(`select key from ledger_users where key = 'behind'`);
    assert.equal(rows.length, 1);
    assert.equal(spool.waiting().length, 1);
    await db.query('drop function refuse cascade');
    await mover.moveAll();
    assert.equal(spool.bytes, 0);
    spool.close();
  });
});
