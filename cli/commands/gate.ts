import type { Command } from 'commander';
import { SlipwayError } from '../../domain/errors.ts';
import type { CsvRows } from '../../domain/gate/csv-judgement.ts';
import { evidenceDigest } from '../../domain/gate/evidence.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { printedPlan } from '../../domain/gate/plan-file.ts';
import { plotGuard } from '../../domain/gate/text-plot.ts';
import type { GatePlan, Look, ReasonCode } from '../../domain/gate/types.ts';
import { duration } from '../../domain/gate/wording.ts';
import { planWords, verdictWords } from '../../domain/release/verdict-words.ts';
import { EXIT } from '../exit.ts';
import { policyFile, policyToWire } from '../files.ts';
import { gateFile, type JudgeOptions, questionOf } from '../judging.ts';
import { table } from '../output.ts';
import { judgeFile } from '../samples.ts';
import type { Explanation } from '../types.ts';
import { type CommandContext, run } from './context.ts';

interface Tally {
  kept: number;
  recomputed: number;
}

interface Verification {
  release: string;
  plan: string;
  verdicts: { horizon: number; digest: string; watermark: number; decision: string }[];
  looks: { guards: Tally; gate: Tally };
  reason: string | null;
  stop: {
    at: string;
    reason: string;
    from: 'samples' | 'measurements' | 'silence';
    watermark: number | null;
    digest: string;
  } | null;
}

/** `slipway gate …`: what the gate would do, did, and whether its evidence stands. */
export function addGateCommands(program: Command): void {
  const gate = program.command('gate').description('plan, check and recompute decisions of the gate');

  gate
    .command('verify <release>')
    .description(
      'recompute what a release was decided by, byte for byte: verdicts, and the look that stopped it',
    )
    .option(
      '--looks <count>',
      'so many of the other looks at the ledger as well, at most 100; each reads all samples',
      '0',
    )
    .action(run(verify));

  gate
    .command('plan')
    .description('how long the gate of a policy takes, and the smallest harm that it sees')
    .requiredOption('-f, --file <file>', 'policy file in YAML')
    .option('--from-ledger <application>', "with the application's own traffic, asked from the API")
    .action(run(plan));

  gate
    .command('judge <samples>')
    .description(
      'judge a CSV file (- for standard input) with the columns time, user, arm and one a metric; ends 0 only on promote, and only if the release, when it has a verdict, has the same',
    )
    .option('--policy <file>', 'policy file in YAML; the plan then knows of no earlier traffic')
    .option('--plan <file>', 'plan, as `gate plan --json` prints it')
    .option('--release <id>', "with the release's own plan, times and weights, asked from the API")
    .option(
      '--from <time>',
      'when the canary began; else the first row says so, and --to the last: rows that a gap of more than a stratum (a day) parts from most others are then taken for a clock that jumped',
    )
    .option('--to <time>', 'up to when the data are complete')
    .option(
      '--phase <time=weight>',
      'since then the weight was another one; once for each change',
      (text: string, before: string[] = []) => [...before, text],
    )
    .action(run(judge));
}

async function verify(
  { api, output }: CommandContext,
  id: string,
  { looks }: { looks: string },
): Promise<void> {
  const release = `/v1/releases/${encodeURIComponent(id)}`;
  let found: Verification;
  try {
    found = await api.call('GET', `${release}/verification?looks=${encodeURIComponent(looks)}`);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== 'NOT_FOUND') throw error;
    const explanation = await api.call<Explanation>('GET', `${release}/explain`);
    const why = withoutCanary(explanation);
    if (why === null) throw error;
    const none = { kept: 0, recomputed: 0 };
    const { reason } = explanation.release;
    output.result(
      { release: id, plan: null, verdicts: [], looks: { guards: none, gate: none }, reason, stop: null },
      () => output.line(`there is nothing to verify: ${why}`),
    );
    return;
  }
  output.result(found, () => {
    for (const line of verificationLines(found)) output.line(line);
    output.line(output.style('green', 'everything recomputed equals what was recorded, byte for byte'));
  });
}

/** How a release ended that never had a canary, so that neither guards nor gate looked at it; null: it had one, or goes on. */
function withoutCanary({ release, story }: Explanation): string | null {
  const { endedAt, canarySince, stage, reason } = release;
  if (endedAt === null || canarySince !== null) return null;
  if (stage === 'done') return 'the release was promoted without a canary';
  const last = story.findLast((line) => line.stage !== 'rolling-back' && line.stage !== 'rolled-back');
  const where = last === undefined ? '' : ` in ${last.stage},`;
  return `the release ended${where} before its canary${reason === null ? '' : `: ${reason}`}`;
}

/** What was recomputed, and from what. */
function verificationLines({ plan, verdicts, looks, reason, stop }: Verification): string[] {
  const lines = [`judged by the plan ${plan}`];
  if (verdicts.length > 0) {
    const rows = verdicts.map((v) => [String(v.horizon + 1), v.decision, String(v.watermark), v.digest]);
    lines.push(...table(['HORIZON', 'DECISION', 'WATERMARK', 'EVIDENCE'], rows), '');
  }
  if (stop !== null) {
    const inputs = {
      samples:
        stop.watermark === null
          ? 'not recomputed: the look was kept without its watermark'
          : `recomputed from the raw samples up to batch ${stop.watermark}`,
      measurements: "recomputed from Prometheus' measurements, as the look keeps them",
      silence: 'recomputed from the looks that could not measure anything',
    }[stop.from];
    lines.push(`stopped by a guard's look at ${stop.at}: ${stop.reason}`, `  ${inputs}; look ${stop.digest}`);
  } else if (reason !== null) {
    lines.push(`no look stopped it; it ended with: ${reason}`);
  }
  lines.push(
    `${verdicts.length} ${verdicts.length === 1 ? 'verdict' : 'verdicts'} recomputed from the raw samples up to their watermarks`,
    `${looks.gate.recomputed} of ${looks.gate.kept} looks at the ledger recomputed from the raw samples (each that saw harm; --looks for more)`,
    `${looks.guards.recomputed} of ${looks.guards.kept} looks at the guards recomputed from the measurements that they keep`,
  );
  return lines;
}

async function plan(
  context: CommandContext,
  { file, fromLedger }: { file: string; fromLedger?: string },
): Promise<void> {
  const made =
    fromLedger === undefined
      ? planGate(await gateFile(file), null)
      : (
          await context.api.call<{ plan: GatePlan }>('POST', '/v1/gate/plan', {
            application: fromLedger,
            policy: policyToWire(await policyFile(file)),
          })
        ).plan;
  const { output } = context;
  const printed = printedPlan(made);
  output.result(printed, () => {
    for (const line of made.words) output.line(line);
    output.line(`plan ${printed.digest}`);
    if (made.refusal !== null) output.line(output.style('red', made.refusal.words));
  });
  if (made.refusal !== null) process.exitCode = EXIT.refused;
}

async function judge(context: CommandContext, file: string, options: JudgeOptions): Promise<void> {
  const { question, recorded } = await questionOf(context, options);
  const { output } = context;
  const { plan, verdict, looks, rows } = await judgeFile(file, question, output.passing);
  const same = recorded && evidenceDigest(verdict) === recorded.digest;
  // A release would have ended there and then: it would never have come to this verdict.
  const stopped = looks.find(({ harm }) => harm) ?? null;
  output.result({ verdict, plan, looks, rows, stopped, recorded: recorded && { ...recorded, same } }, () => {
    for (const { guard } of plan.guards) {
      output.line(output.style('bold', guard));
      output.line(plotGuard(guard, looks, { width: 60 }));
      output.line();
    }
    output.line(planWords(plan));
    const colour =
      verdict.decision === 'promote' ? 'green' : verdict.decision === 'continue' ? 'yellow' : 'red';
    output.line(output.style(colour, verdictWords(plan, verdict)));
    const told = options.phase !== undefined || options.release !== undefined;
    if (!told && verdict.reasons.some(({ code }) => MIXED.includes(code))) {
      output.line('Was the weight raised meanwhile? Then say since when: --phase TIME=WEIGHT');
    }
    if (stopped !== null) output.line(output.style('red', stopWords(stopped)));
    output.line(`judged by the plan ${verdict.planDigest}`);
    for (const line of rowsWords(rows)) output.line(line);
    if (recorded) {
      const line = `the verdict of ${recorded.release} at horizon ${recorded.horizon + 1}`;
      if (same) output.line(output.style('green', `${line} is the same, byte for byte`));
      else {
        output.line('Is a sample missing, or the column of an evaluator, also of one that no guard uses?');
        output.line(output.style('red', `${line} is another one: ${recorded.digest}`));
      }
    } else if (options.release !== undefined) {
      output.line(`${options.release} has no verdict to compare with`);
    }
  });
  // The looks of a release that has its verdict were taken when they were due, and are on record.
  const refused = recorded === null ? stopped !== null : !same;
  if (verdict.decision !== 'promote' || refused) process.exitCode = EXIT.refused;
}

/** What a ramp looks like to whoever does not know of it. */
const MIXED: readonly ReasonCode[] = ['sample-ratio', 'both-arms'];
const HARM: readonly ReasonCode[] = ['harm', 'first-errors'];

/** What the guards of a release would have seen long before the verdict. */
function stopWords({ elapsed, reasons }: Look): string {
  const why = reasons
    .filter(({ code }) => HARM.includes(code))
    .map(({ guard, words }) => (guard === undefined ? words : `${guard}: ${words}`));
  return `a guard's look after ${duration(elapsed)} would have stopped the canary: ${why.join('; ')}`;
}

/** Which rows the verdict is about, and which not. */
function rowsWords({ all, judged, outside, later, from, to, first, last }: CsvRows): string[] {
  const at = (ms: number) => new Date(ms).toISOString();
  const lines = [
    `${judged} of ${all} rows, those from ${at(from)} up to ${at(to)}; the file reaches from ${at(first)} to ${at(last)}`,
  ];
  const wrong = 'their clock is wrong, or --from or --to is';
  if (outside > 0) lines.push(`rows dated outside of the canary: ${outside}; ${wrong}`);
  if (later > 0) lines.push(`rows from later, not judged: ${later}`);
  return lines;
}
