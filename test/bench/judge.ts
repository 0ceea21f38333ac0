/**
 * `npm run bench:judge [-- --users 1000000 --requests 10 --days 7 --runs 3 --plan]`: how long a verdict takes from Postgres. Fills the ledger
 * of one release on a Postgres of its own (or on `--database URL`, whose ledger must be empty), judges it, and prints the time of each part,
 * the processor time it took, and with `--plan` what Postgres does.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { influenceRequests } from '../../domain/gate/influence.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { defaultGatePolicy } from '../../domain/gate/types.ts';
import { judge } from '../../domain/gate/verdict.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { readInfluences } from '../../store/gate-influences.ts';
import { inSnapshot } from '../../store/gate-snapshot.ts';
import { type GateWindow, readTotals } from '../../store/gate-totals.ts';
import { experimentOf } from '../../store/ledger.ts';
import { startPostgres } from '../support/stack.ts';
import { fillLedger } from './judge-data.ts';
import { explainJudgement } from './judge-plan.ts';

const { values } = parseArgs({
  options: {
    users: { type: 'string', default: '1000000' },
    requests: { type: 'string', default: '10' },
    days: { type: 'string', default: '7' },
    runs: { type: 'string', default: '3' },
    plan: { type: 'boolean', default: false },
    database: { type: 'string' },
  },
});

const DAY = 86_400_000;
const release = 'bench';
const days = Number(values.days);
const say = (line: string): void => console.log(line);

/** Processor seconds of this process and, on Linux, of the Postgres that it talks to. */
async function processorTime(db: Database): Promise<() => { node: number; postgres: number | null }> {
  const { rows } = await db.query<{ pid: number }>('select pg_backend_pid() as pid');
  const ticks = (pid: number): number[] =>
    (readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1] ?? '').split(' ').map(Number);
  let postmaster: number | null = null;
  try {
    postmaster = ticks(rows[0]?.pid ?? 0)[1] ?? null;
  } catch {
    // Not Linux, or Postgres is elsewhere: only our own time is known.
  }
  return () => {
    const own = process.cpuUsage();
    // Ended backends count for the postmaster; connections are closed before this is asked.
    const [, user = 0, system = 0] = postmaster === null ? [] : [0, ...ticks(postmaster).slice(13, 15)];
    return {
      node: (own.user + own.system) / 1e6,
      postgres: postmaster === null ? null : (user + system) / 100,
    };
  };
}

async function judged(url: string, window: GateWindow) {
  const db = openDatabase(url, { max: 2 });
  const parts: [string, number][] = [];
  let last = performance.now();
  const lap = (what: string) => {
    parts.push([what, (performance.now() - last) / 1000]);
    last = performance.now();
  };
  const plan = planGate(defaultGatePolicy, null);
  const figures = await inSnapshot(db, async (snapshot) => {
    const experiment = await experimentOf(snapshot.tx, release);
    if (experiment === null) throw new Error('the ledger is empty');
    const totals = await readTotals(snapshot.tx, window, experiment, plan.policy.metrics);
    lap('totals');
    const rows = totals.traffic.reduce((sum, { users }) => sum + users, 0);
    const requests = influenceRequests(plan.policy.metrics, totals);
    const sums = await readInfluences(snapshot, experiment, requests, rows);
    lap('influences');
    return { totals, sums };
  });
  const verdict = judge(plan, figures, 0);
  lap('verdict');
  await db.end();
  return { parts, verdict };
}

const own = values.database === undefined ? await startPostgres({ own: true }) : null;
try {
  const url = values.database ?? own?.url ?? '';
  const db = openDatabase(url, { max: 1 });
  say(`Filling the ledger: ${values.users} users, ${values.requests} requests each, ${days} days`);
  await fillLedger(
    db,
    {
      application: 'bench',
      release,
      users: Number(values.users),
      requestsPerUser: Number(values.requests),
      days,
      weight: defaultGatePolicy.weight,
    },
    (line) => say(`  ${line}`),
  );
  const cpu = await processorTime(db);
  const window = {
    release,
    from: 0,
    to: days * DAY,
    stratum: DAY,
    phases: [{ weight: defaultGatePolicy.weight }],
  };
  for (let run = 1; run <= Number(values.runs); run += 1) {
    const [before, started] = [cpu(), performance.now()];
    const { parts, verdict } = await judged(url, window);
    const seconds = (performance.now() - started) / 1000;
    const after = cpu();
    const used = [
      `node ${(after.node - before.node).toFixed(2)} s`,
      ...(after.postgres === null
        ? []
        : [`postgres ${(after.postgres - (before.postgres ?? 0)).toFixed(2)} s`]),
    ];
    say(
      `run ${run}: ${verdict.decision} on ${verdict.arms.stable.samples + verdict.arms.canary.samples} samples of ` +
        `${verdict.sampleRatio.users} users in ${seconds.toFixed(2)} s ` +
        `(${parts.map(([what, time]) => `${what} ${time.toFixed(2)}`).join(', ')}; processor: ${used.join(', ')})`,
    );
  }
  if (values.plan) await explainJudgement(db, release, say);
  await db.end();
} finally {
  await own?.stop();
}
