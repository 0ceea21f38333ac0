import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffPrompts } from '../../../domain/prompt/diff.ts';
import { parsePromptFile } from '../../../domain/prompt/parse.ts';

const version = (n: number, text: string) => ({
  name: 'answers',
  version: n,
  digest: `sha256:${n}`,
  content: parsePromptFile(text).content,
});

const before = `---
name: answers
system: |
  You help.
  Be short.
parameters: { temperature: 0.2 }
---
1
2
3
4
5
6
7
8
{{input}}
`;

test('versions that say the same have no difference', () => {
  assert.equal(diffPrompts(version(1, before), version(2, before)), '');
});

test('a difference reads as a unified diff, with three lines of context', () => {
  const after = before.replace('Be short.', 'Be exact.').replace('{{input}}', 'Q: {{input}}');
  assert.equal(
    diffPrompts(version(1, before), version(2, after)),
    `--- answers@1
+++ answers@2
@@ -1,7 +1,7 @@
 ---
 system: |
   You help.
-  Be short.
+  Be exact.
 variables: []
 examples: []
 parameters:
@@ -16,5 +16,5 @@
 6
 7
 8
-{{input}}
+Q: {{input}}
 
`,
  );
});
