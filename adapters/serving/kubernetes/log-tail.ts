const LINES = 10;
const LINE_LENGTH = 400;

/**
 * What may stand in vLLM's log and must not stand in ours: prompts and answers, when it is told to log them (--enable-log-requests,
 * --enable-log-outputs), and keys among its arguments. Source: vLLM `entrypoints/logger.py`.
 */
const conversations =
  /\b(prompt|output)(_token_ids)?\b['"]?\s*[:=]|\b(Received request|Generated response)\b/i;
const secrets: [RegExp, string][] = [
  [/\bhf_[A-Za-z0-9]{8,}/g, '***'],
  [/\b(bearer\s+)\S+/gi, '$1***'],
  [/((?:api|access)[-_]?(?:key|token)s?['"]?\s*[:= ]\s*)(\[[^\]]*\]|['"][^'"]*['"]|[^\s,'"]+)/gi, '$1***'],
];

/** The last lines of a container's log, without what nobody else may read. */
export function logTail(log: string, lines = LINES): string {
  return log
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '' && !conversations.test(line))
    .slice(-lines)
    .map((line) => secrets.reduce((text, [secret, mask]) => text.replace(secret, mask), line))
    .map((line) => (line.length > LINE_LENGTH ? `${line.slice(0, LINE_LENGTH)}…` : line))
    .join('\n');
}
