import { stringify } from 'yaml';
import { type PromptContent, type PromptVersion, promptRef } from './prompt.ts';

/** Lines of context around a change. */
const CONTEXT = 3;

/** A unified diff of two prompt versions, of the text that `promptText` makes of each; empty when they say the same. */
export function diffPrompts(before: PromptVersion, after: PromptVersion): string {
  const hunks = unifiedHunks(promptText(before.content).split('\n'), promptText(after.content).split('\n'));
  if (hunks.length === 0) return '';
  return [`--- ${promptRef(before)}`, `+++ ${promptRef(after)}`, ...hunks, ''].join('\n');
}

/** A prompt as the file that it could be pushed from, without its name. */
export function promptText({ template, ...head }: PromptContent): string {
  return `---\n${stringify(head, { lineWidth: 0, blockQuote: 'literal' })}---\n${template}`;
}

interface Line {
  sign: ' ' | '-' | '+';
  text: string;
  /** Numbers of the line before which this one stands, from 0 on, in both texts. */
  a: number;
  b: number;
}

function unifiedHunks(a: string[], b: string[]): string[] {
  const lines = alignedLines(a, b);
  const changes = lines.flatMap((line, index) => (line.sign === ' ' ? [] : [index]));
  const output: string[] = [];
  for (let i = 0; i < changes.length; ) {
    const start = Math.max(0, (changes[i] ?? 0) - CONTEXT);
    let end = (changes[i] ?? 0) + CONTEXT + 1;
    for (i += 1; i < changes.length && (changes[i] ?? 0) <= end + CONTEXT; i += 1) {
      end = (changes[i] ?? 0) + CONTEXT + 1;
    }
    const hunk = lines.slice(start, end);
    const olds = hunk.filter((line) => line.sign !== '+').length;
    const news = hunk.filter((line) => line.sign !== '-').length;
    const first = hunk[0] ?? { a: 0, b: 0 };
    output.push(
      `@@ -${first.a + (olds > 0 ? 1 : 0)},${olds} +${first.b + (news > 0 ? 1 : 0)},${news} @@`,
      ...hunk.map((line) => `${line.sign}${line.text}`),
    );
  }
  return output;
}

/** Both texts as one list of kept, removed and added lines, by their longest common subsequence. */
function alignedLines(a: string[], b: string[]): Line[] {
  const width = b.length + 1;
  // common[i * width + j]: length of the longest common subsequence of a from i on and b from j on.
  const common = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => common[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const [old, fresh] = [a[i], b[j]];
    if (old !== undefined && old === fresh) {
      lines.push({ sign: ' ', text: old, a: i, b: j });
      i += 1;
      j += 1;
    } else if (old !== undefined && (fresh === undefined || at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ sign: '-', text: old, a: i, b: j });
      i += 1;
    } else {
      lines.push({ sign: '+', text: fresh ?? '', a: i, b: j });
      j += 1;
    }
  }
  return lines;
}
