import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { CsvError, parse as parseCsv } from 'csv-parse';
import { SlipwayError } from '../domain/errors.ts';
import { type CsvRow, headerOf } from '../domain/gate/csv.ts';
import { type CsvJudgement, type CsvQuestion, CsvSamples } from '../domain/gate/csv-judgement.ts';

/** Rows between two words about how far it is. */
const STEP = 50_000;

/**
 * Judges a CSV file, `-` for standard input; reads it row by row, so that it may be larger than memory. An error says which file it is about,
 * and counts rows as an editor counts lines. `told` hears how far it is, and nothing more to say when it fails.
 */
export async function judgeFile(
  file: string,
  question: CsvQuestion,
  told: (how: string) => void = () => {},
): Promise<CsvJudgement> {
  const judged = question.plan.policy.metrics.map(({ metric }) => metric);
  const samples = new CsvSamples();
  let read = 0;
  const parser = parseCsv({
    columns: (names: string[]) => {
      read = 1;
      return headerOf(names, judged);
    },
    skip_empty_lines: true,
    bom: true,
    record_delimiter: ['\r\n', '\n', '\r'],
    on_record: (row: CsvRow, { lines, records }) => {
      read = lines;
      if (records % STEP === 0) told(`${records} rows read`);
      samples.add(row, lines);
      return null;
    },
  });
  try {
    await pipeline(file === '-' ? process.stdin : createReadStream(file), parser.resume());
    return samples.judge({ ...question, told: (taken, looks) => told(`${taken} of ${looks} looks taken`) });
  } catch (error) {
    told('');
    throw about(file === '-' ? 'standard input' : file, error, read);
  }
}

function about(file: string, error: unknown, read: number): SlipwayError {
  if (error instanceof SlipwayError) {
    return new SlipwayError(error.code, `${file}: ${error.message}`, error.details, { cause: error });
  }
  if (error instanceof Error && 'syscall' in error) {
    const remedy = 'Name a file that exists';
    const details = { field: 'file', value: file, remedy };
    return new SlipwayError('INPUT_INVALID', `${file} cannot be read`, details, { cause: error });
  }
  if (!(error instanceof CsvError)) throw error;
  const { row, message, remedy } = malformed(error, read);
  const details = { field: `rows[${row}]`, remedy };
  return new SlipwayError('SAMPLES_INVALID', `${file}: ${message}`, details, { cause: error });
}

/** What is wrong with the file's cells as such; `read` is the last row that could be read. */
function malformed(error: CsvError, read: number): { row: number; message: string; remedy: string } {
  const row = read + 1;
  switch (error.code) {
    case 'CSV_QUOTE_NOT_CLOSED': {
      const remedy = 'Close the quote, or write two for one that belongs to the cell';
      return { row, message: `row ${row} opens a quote that is never closed`, remedy };
    }
    case 'CSV_RECORD_INCONSISTENT_COLUMNS': {
      const [row, cells, columns] = [
        Number(error.lines),
        error.record as unknown[],
        error.columns as unknown[],
      ];
      const message = `row ${row} has ${cells.length} cells, the header ${columns.length}`;
      const remedy =
        'Give every row as many cells as the header; put a cell with a comma into quotes, and write decimals with a point';
      return { row, message, remedy };
    }
    default: {
      const message = `row ${row} has a quote where none can stand, or is no text`;
      return {
        row,
        message,
        remedy: 'Put such a cell into quotes, and write two for one that belongs to it',
      };
    }
  }
}
