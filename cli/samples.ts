import { createReadStream } from 'node:fs';
import { parse as parseCsv } from 'csv-parse';
import { SlipwayError } from '../domain/errors.ts';
import { type CsvRow, headerOf } from '../domain/gate/csv.ts';
import { CsvSamples } from '../domain/gate/csv-judgement.ts';

/** Reads a CSV file of samples row by row, so that it may be larger than memory. An error says which file it is about. */
export async function samplesFile(file: string): Promise<CsvSamples> {
  const samples = new CsvSamples();
  const input = createReadStream(file);
  const parser = parseCsv({ columns: headerOf, skip_empty_lines: true, bom: true });
  input.on('error', (cause) => parser.destroy(cause)).pipe(parser);
  try {
    for await (const row of parser as AsyncIterable<CsvRow>) samples.add(row);
  } catch (error) {
    throw about(file, error);
  } finally {
    input.destroy();
  }
  return samples;
}

function about(file: string, error: unknown): SlipwayError {
  if (error instanceof SlipwayError) {
    return new SlipwayError(error.code, `${file}: ${error.message}`, error.details, { cause: error });
  }
  if (error instanceof Error && 'syscall' in error) {
    const remedy = 'Name a file that exists';
    const details = { field: 'file', value: file, remedy };
    return new SlipwayError('INPUT_INVALID', `${file} cannot be read`, details, { cause: error });
  }
  return new SlipwayError(
    'SAMPLES_INVALID',
    `${file}: ${error instanceof Error ? error.message : String(error)}`,
    { field: 'samples', remedy: 'Give a CSV file with a header and as many cells in every row' },
    { cause: error },
  );
}
