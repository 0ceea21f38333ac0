/**
 * The least that a process must do to be taken for vLLM: it reads `--port`, answers /health and /metrics, ends on SIGTERM. It leaves its
 * id in the folder STAND_IN_REGISTER, so that a test can count who lives by other means than the code under test. Behaviours are chosen by
 * flags of the runtime: `fail-with` ends it with that text, `in-flight` and `cache-concurrency` are what its metrics say, `load-file` names
 * a file with the metrics that it says now (none: it has no metrics), `unhealthy` never becomes ready, `loads-while` names a file while which it does not listen
 * yet, `deaf` ignores SIGTERM.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const { argv, env, pid } = process;
const flag = (name: string): string | undefined => {
  const at = argv.indexOf(`--${name}`);
  return at < 0 ? undefined : (argv[at + 1] ?? '');
};

const register = env.STAND_IN_REGISTER;
if (register !== undefined) {
  mkdirSync(register, { recursive: true });
  writeFileSync(join(register, String(pid)), JSON.stringify({ argv: argv.slice(2), env }));
}

const failure = flag('fail-with');
if (failure !== undefined) {
  console.error(failure);
  process.exit(1);
}

process.on('SIGTERM', () => {
  if (flag('deaf') === undefined) process.exit(0);
});

const metrics = [
  `vllm:num_requests_running{engine="0"} ${flag('in-flight') ?? 0}.0`,
  'vllm:num_requests_waiting{engine="0"} 0.0',
  `vllm:cache_config_info{block_size="16",gpu_memory_utilization="0.9",num_gpu_blocks="4096",kv_cache_max_concurrency="${flag('cache-concurrency') ?? 8}"} 1.0`,
].join('\n');

const loadFile = flag('load-file');
const said = (): string | null => {
  if (loadFile === undefined) return metrics;
  return existsSync(loadFile) ? readFileSync(loadFile, 'utf8') : null;
};

const loadsWhile = flag('loads-while');
while (loadsWhile !== undefined && existsSync(loadsWhile)) await delay(20);

createServer((request, response) => {
  if (request.url === '/health') response.writeHead(flag('unhealthy') === undefined ? 200 : 503).end();
  else if (request.url === '/metrics' && said() !== null) response.end(`${said()}\n`);
  else response.writeHead(404).end();
}).listen(Number(flag('port')), flag('host'));
