const stopWords = new Set(
  (
    'a an the of for to in on at by with from and or but not no is are was were be been do does did can could may might must ' +
    'will would shall should i me my mine you your yours we us our it its this that these those there here how what when where ' +
    'which who why if so as have has had get got than then too also just any all some one once please hi hello hey thanks thank ' +
    'dear team regards order number reference'
  ).split(' '),
);

/** Lower case, one kind of quote and dash, single spaces: the form in which texts are compared. */
export function normalise(text: string): string {
  return text
    .toLowerCase()
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u2010-\u2015]/g, '-')
    .replace(/\s+/g, ' ')
    .trim();
}

/** English endings cut so that `refunds`, `refunded` and `refunding` are one word; crude, and the same on both sides. */
function stem(word: string): string {
  if (word.length <= 3 || /\d/.test(word)) return word;
  return word
    .replace(/'s$/, '')
    .replace(/(ies|y)$/, '')
    .replace(/(ss)es$/, '$1')
    .replace(/(?<!s)s$/, '')
    .replace(/(ing|ed)$/, '')
    .replace(/(.)\1$/, '$1')
    .replace(/e$/, '');
}

/** The content words of a text, stemmed, without duplicates. */
export function contentWords(text: string): string[] {
  const words = new Set<string>();
  for (const word of normalise(text).match(/[\p{L}\d]+(?:'[a-z]+)?/gu) ?? []) {
    if (!stopWords.has(word)) words.add(stem(word));
  }
  return [...words];
}
