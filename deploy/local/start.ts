/**
 * `npm start`: the main job on real parts of this machine. `--once` ends after it, with 0 only if every release ended as it should;
 * without it the parts stay up until Ctrl-C. Each start begins with an empty state folder, so that it tells the same story.
 * `--stack` (`slipway up`): the parts alone, on the state that the last one left. `--kubernetes`: servings run on a Kubernetes cluster, that of
 * KUBECONFIG or one of this machine with simulated GPU nodes.
 */
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { stopAll as stopServings } from '../../adapters/serving/local/local.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { runMainJob } from './main-job.ts';
import { type Slipway, simulatorEnv, startSlipway } from './slipway.ts';
import { DEFAULT_STATE, type Stack, startStack } from './stack.ts';
import { TellingSupervisor } from './start-supervisor.ts';
import { since } from './story.ts';

const { values } = optionsGiven();
const state = values.state ?? join(DEFAULT_STATE, values.stack ? 'stack' : 'example');
const say = (line: string): void => console.log(line);
const supervisor = new TellingSupervisor(say);
supervisor.stopOnSignals(() => {
  say('Stopping everything, the last started first; Ctrl-C again kills what is left');
  say('  stopping the vLLM replicas');
  return stopServings(state);
});

/** The command line; a wrong one ends the process, with nothing started. */
function optionsGiven() {
  try {
    return parseArgs({
      options: {
        once: { type: 'boolean', default: false },
        stack: { type: 'boolean', default: false },
        kubernetes: { type: 'boolean', default: false },
        state: { type: 'string' },
      },
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const [problem] = error.message.split('. ', 1);
    console.error(`${problem}\nusage: npm start -- [--once] [--stack] [--kubernetes] [--state FOLDER]`);
    process.exit(2);
  }
}

async function main(): Promise<number> {
  const started = performance.now();
  say('Slipway: bringing up Postgres, Temporal, Prometheus, and Slipway itself');
  const stack = await startStack({
    supervisor,
    state,
    say,
    fresh: !values.stack,
    ...(values.kubernetes ? { kubernetes: { simulator: simulatorEnv } } : {}),
  });
  const slipway = await startSlipway(supervisor, stack, say);
  for (const part of [slipway.api, slipway.gateway, slipway.worker, slipway.evaluator]) void part.keepUp(say);
  if (values.stack) {
    tellAddresses(stack, slipway);
    return untilStopped();
  }
  const { releases, mistakes } = await runMainJob(supervisor, stack, slipway, say);
  say('');
  for (const mistake of mistakes) say(`NOT as it should: ${mistake}`);
  if (mistakes.length === 0) {
    const count = Object.keys(releases).length;
    say(`All ${count} releases ended as they should, ${since(started)} after the start.`);
  }
  tellAddresses(stack, slipway);
  if (!values.once) return untilStopped();
  await stopServings(state);
  return mistakes.length === 0 ? 0 : 1;
}

async function untilStopped(): Promise<never> {
  say('Everything stays up until Ctrl-C.');
  return new Promise<never>(() => {});
}

function tellAddresses(stack: Stack, slipway: Slipway): void {
  say('');
  say(`  Temporal UI    ${stack.temporalUi?.url ?? '(the configured one)'}`);
  say(`  Gateway        ${slipway.gatewayUrl}/v1  (model support-answers)`);
  say(`  API            ${slipway.apiUrl}/openapi.json`);
  say(`  Prometheus     ${stack.prometheusUrl}`);
  if (stack.cluster?.control !== undefined) {
    say(
      `  Kubernetes     KUBECONFIG=${relative(process.cwd(), stack.cluster.control.kubeconfig)} kubectl -n slipway get pods`,
    );
  }
  say(
    `  Keys and logs  ${relative(process.cwd(), stack.state)}/keys.json, ${relative(process.cwd(), stack.state)}/logs/`,
  );
  say(
    `  slipway        export SLIPWAY_API_URL=${slipway.apiUrl} SLIPWAY_API_KEY=…; npm run slipway -- release list`,
  );
  say('');
}

try {
  const code = await main();
  await supervisor.stopAll();
  process.exit(code);
} catch (error) {
  await supervisor.letSignalEnd();
  if (error instanceof SlipwayError) {
    console.error(
      `${error.code}: ${error.message}${error.details.remedy ? `\n  ${error.details.remedy}` : ''}`,
    );
  } else {
    console.error(error);
  }
  await supervisor.stopAll();
  process.exit(1);
}
