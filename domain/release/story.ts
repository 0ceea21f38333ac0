import type { Stage } from '../words.ts';

/** One line of the story, as `explain` tells it. */
export interface StoryLine {
  /** ISO 8601. */
  at: string;
  stage: Stage;
  text: string;
}
