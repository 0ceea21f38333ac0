#!/usr/bin/env node
import { report } from './exit.ts';
import { makeOutput } from './output.ts';
import { makeProgram } from './program.ts';

// `slipway release list | head`: the reader has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const program = makeProgram();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, makeOutput(process.argv.includes('--json')));
}
