#!/usr/bin/env node
import { report } from './exit.ts';
import { makeOutput } from './output.ts';
import { makeProgram } from './program.ts';

const program = makeProgram();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, makeOutput(process.argv.includes('--json')));
}
