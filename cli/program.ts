import { Command } from 'commander';
import { addCapacityCommand } from './commands/capacity.ts';
import { addDocumentCommands } from './commands/documents.ts';
import { addGateCommands } from './commands/gate.ts';
import { addReaperCommands } from './commands/reaper.ts';
import { addReleaseCommands } from './commands/releases.ts';
import { addRevisionCommands } from './commands/revisions.ts';
import { addSystemCommands } from './commands/system.ts';

const help = `
Environment:
  SLIPWAY_API_URL  where the API is (http://127.0.0.1:8080)
  SLIPWAY_API_KEY  your key
  TEMPORAL_…       for slipway temporal: Temporal's own environment configuration

Exit codes: 0 done; 1 refused, or the watched release was not promoted; 2 wrong command line; 3 the API does not answer.`;

/** The command line; every command throws what went wrong. */
export function makeProgram(): Command {
  const program = new Command('slipway')
    .description('Release pipeline for LLM prompts and models')
    .version('0.1.0')
    .option('--json', 'write results as JSON')
    .option('--api <url>', 'where the API is')
    .addHelpText('after', help)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });
  addSystemCommands(program);
  addDocumentCommands(program);
  addReleaseCommands(program);
  addGateCommands(program);
  addReaperCommands(program);
  addRevisionCommands(program);
  addCapacityCommand(program);
  for (const command of descendants(program)) command.exitOverride();
  return program;
}

function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)]);
}
