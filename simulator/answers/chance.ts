import type { Grounding, PromptFeatures } from './features.ts';
import type { Fact, Knowledge } from './knowledge.ts';
import { contentWords } from './words.ts';

export interface ModelAbility {
  /** Parameters of the model. */
  parameters: number;
  /** Bits of a weight as served. */
  weightBits: number;
}

/** Log-odds of a right answer before any other feature; the second number is multiplied with the fact's difficulty. */
const startingPoint: Record<Exclude<Grounding, 'forbidden'>, [number, number]> = {
  absent: [-0.1, -2.6],
  named: [0.05, -2.6],
  'partly stated': [0.8, -2.2],
  stated: [2.9, -1.5],
  conflicting: [1.1, -1.5],
  contradicted: [-3, 0],
};

/** Words of prompt that a model reads without losing anything. */
const COMFORTABLE_WORDS = 1200;

/**
 * The probability that the model answers a question on this fact rightly. Depends on the prompt's features, the model and the
 * temperature only; README.md documents every term.
 */
export function chanceOfRight(
  fact: Fact,
  question: string,
  features: PromptFeatures,
  model: ModelAbility,
  temperature: number,
  knowledge: Knowledge,
): number {
  const grounding = features.grounding.get(fact.id) ?? 'absent';
  if (grounding === 'forbidden') return 0;
  const grounded = grounding === 'stated' || grounding === 'conflicting' || grounding === 'partly stated';
  if (features.deflects && !grounded) return 0.05;
  const [start, byDifficulty] = startingPoint[grounding];
  let logOdds = start + byDifficulty * fact.difficulty;
  if (features.role) logOdds += 0.25;
  if (features.exact) logOdds += 0.3;
  if (features.honest) logOdds += grounded ? 0.15 : -0.5;
  if (features.steps) logOdds += 0.5 * fact.difficulty;
  if (features.structured) logOdds += 0.1;
  logOdds += 0.1 * Math.min(3, features.goodExamples.length);
  logOdds += 0.6 * nearestExample(question, features, knowledge);
  logOdds -= 0.4 * features.badExamples;
  logOdds -= 0.7 * features.contradictions;
  if (features.offKey) logOdds -= 0.6;
  logOdds -= (0.25 * Math.max(0, features.words - COMFORTABLE_WORDS)) / 500;
  logOdds += 0.3 * Math.log2(model.parameters / 8e9);
  if (model.weightBits < 16) logOdds -= model.weightBits < 8 ? 0.2 : 0.04;
  logOdds -= 0.4 * temperature;
  return 1 / (1 + Math.exp(-logOdds));
}

/** How alike the nearest good example's question is, 0–1: shared content words by their rarity. */
function nearestExample(question: string, features: PromptFeatures, knowledge: Knowledge): number {
  const asked = new Set(contentWords(question));
  let nearest = 0;
  for (const example of features.goodExamples) {
    let shared = 0;
    let total = 0;
    for (const word of contentWords(example.input)) {
      const weight = knowledge.rarity(word);
      total += weight;
      if (asked.has(word)) shared += weight;
    }
    if (total > 0) nearest = Math.max(nearest, shared / total);
  }
  return nearest;
}
