/** The entry point of vLLM's images: what a container without a command of its own runs. */
const ENTRY_POINT = ['vllm', 'serve'];

/** The command cannot be run in vLLM's image; the message is the one of a container runtime. */
export class CommandNotFound extends Error {
  override name = 'CommandNotFound';
}

/** Puts variables into a command or argument as a kubelet does: `$(NAME)`, `$$(NAME)` stands for itself, what is unknown stays. */
export function expanded(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return Object.hasOwn(variables, name) ? (variables[name] ?? '') : whole;
  });
}

export interface ContainerCommand {
  command?: readonly string[] | undefined;
  args?: readonly string[] | undefined;
}

/** The arguments that vLLM gets, from `serve` on. Throws CommandNotFound for a command that is not vLLM's. */
export function vllmArguments(
  container: ContainerCommand,
  variables: Readonly<Record<string, string>>,
): string[] {
  const own = container.command?.length ? container.command : ENTRY_POINT;
  const [program = '', ...rest] = [...own, ...(container.args ?? [])].map((text) =>
    expanded(text, variables),
  );
  if (/(^|\/)vllm$/.test(program)) return rest;
  const module = rest.indexOf('vllm.entrypoints.openai.api_server');
  if (/(^|\/)python3?$/.test(program) && module === 1 && rest[0] === '-m') return ['serve', ...rest.slice(2)];
  throw new CommandNotFound(`exec: "${program}": executable file not found in $PATH`);
}

/**
 * Pods share this machine's network. "Every address" (`--host 0.0.0.0` or no host at all) becomes the pod's own address, and the
 * loopback address becomes one that only this pod uses, where nobody reaches it from outside; as it is in a pod.
 */
export function boundTo(args: readonly string[], podAddress: string): string[] {
  const bound: string[] = [];
  let given = false;
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? '';
    const inline = argument.startsWith('--host=');
    if (!inline && argument !== '--host') {
      bound.push(argument);
      continue;
    }
    given = true;
    const host = inline ? argument.slice('--host='.length) : args[++index];
    bound.push('--host');
    if (host !== undefined) bound.push(hostInPod(host, podAddress));
  }
  return given ? bound : [...bound, '--host', podAddress];
}

function hostInPod(host: string, podAddress: string): string {
  if (['0.0.0.0', '::', ''].includes(host)) return podAddress;
  if (host === 'localhost' || host.startsWith('127.')) return podAddress.replace(/^\d+/, '127');
  return host;
}
