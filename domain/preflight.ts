/** One line of the checklist before a release touches anything. */
export interface ChecklistItem {
  item: string;
  passed: boolean;
  /** What was found, also when it passed; a warning stands here too. */
  message: string;
  remedy?: string | undefined;
}

export interface Checklist {
  passed: boolean;
  items: ChecklistItem[];
  /** Every failed item with its remedy; when all passed, what was found. */
  summary: string;
}

export function checklistOf(items: ChecklistItem[]): Checklist {
  const failed = items.filter(({ passed }) => !passed);
  const told = failed.length > 0 ? failed : items;
  const lines = told.map(({ item, message, remedy }) => {
    const advice = remedy === undefined ? '' : `. ${remedy}`;
    return `${item}: ${message}${advice}`;
  });
  const count =
    failed.length > 0
      ? `${failed.length} of ${items.length} checks failed`
      : `all ${items.length} checks passed`;
  return { passed: failed.length === 0, items, summary: [count, ...lines].join('\n') };
}
