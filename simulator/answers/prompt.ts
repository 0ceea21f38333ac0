import type { Knowledge } from './knowledge.ts';

export interface Message {
  role: string;
  content: string;
}

/** A conversation taken apart: what the model is told, what it is shown, and what it is asked. */
export interface ReadPrompt {
  /** System and developer messages, and what the last user message says besides the question. */
  instructions: string;
  examples: { input: string; output: string }[];
  question: string;
}

const labelled =
  /(?:^|\n)[ \t>*#-]*(?:customer(?:'s)? (?:question|message)|user(?:'s)? (?:question|message)|question|customer|user|message|input|query)[*]*\s*:[*]*[ \t]*\n?([^\n]+(?:\n(?!\s*\n)[^\n]+)*)/gi;
const tagged = /<(question|input|message|query|customer|user)>\s*([\s\S]+?)\s*<\/\1>/gi;
const fenced = /("""|```)\s*([\s\S]+?)\s*\1/g;
const answerLabel =
  /\n[ \t>*#-]*(?:answer|assistant|reply|response|agent|support)[*]*\s*:[*]*[ \t]*(?=\n|$)/i;

/** The last user message is the question with the template's text around it; everything else instructs or exemplifies. */
export function readPrompt(messages: readonly Message[], knowledge: Knowledge | null): ReadPrompt {
  const instructions: string[] = [];
  const examples: { input: string; output: string }[] = [];
  let asked: string | null = null;
  for (const message of messages) {
    if (message.role === 'user') {
      if (asked !== null) instructions.push(asked);
      asked = message.content;
    } else if (message.role === 'assistant') {
      if (asked !== null) examples.push({ input: asked, output: message.content });
      asked = null;
    } else {
      instructions.push(message.content);
    }
  }
  const { question, around } = splitQuestion(asked ?? '', knowledge);
  if (around !== '') instructions.push(around);
  return { instructions: instructions.join('\n\n'), examples, question };
}

function splitQuestion(text: string, knowledge: Knowledge | null): { question: string; around: string } {
  const trimmed = text.trim();
  if (!trimmed.includes('\n')) {
    const label = /^(?:customer|user|question|message|input)\s*:\s*/i.exec(trimmed);
    return label === null
      ? { question: trimmed, around: '' }
      : { question: trimmed.slice(label[0].length), around: '' };
  }
  for (const pattern of [tagged, labelled, fenced]) {
    const found = [...trimmed.matchAll(pattern)].at(-1);
    const inner = found?.at(-1)?.split(answerLabel)[0]?.trim();
    if (found === undefined || inner === undefined || inner === '') continue;
    const at = trimmed.lastIndexOf(inner);
    return {
      question: inner,
      around: `${trimmed.slice(0, at)}\n${trimmed.slice(at + inner.length)}`.trim(),
    };
  }
  return nearestLine(trimmed, knowledge);
}

/** Without a label the question is the line nearest to a known question, the last of equals; else the last line. */
function nearestLine(text: string, knowledge: Knowledge | null): { question: string; around: string } {
  const lines = text.split('\n');
  let best = -1;
  let bestScore = -1;
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    const similarity = knowledge?.recognise(line)?.similarity ?? 0;
    const score = similarity + (line.trim().endsWith('?') ? 0.5 : 0);
    if (score >= bestScore) {
      best = index;
      bestScore = score;
    }
  }
  const question = lines[best]?.trim() ?? text;
  return {
    question,
    around: lines
      .filter((_, index) => index !== best)
      .join('\n')
      .trim(),
  };
}
