import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What the evaluator says of itself and of the answers that it scored; no label holds a text of anybody. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    quality: new Histogram({
      name: 'llm_quality_score',
      help: 'Scores of answers, 0 (worst) to 1 (best)',
      labelNames: ['evaluator', 'application', 'revision', 'arm'],
      buckets: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
      registers,
    }),
    waiting: new Gauge({
      name: 'llm_scoring_queue_answers',
      help: 'Answers that wait to be scored',
      registers,
    }),
    failures: new Counter({
      name: 'llm_judge_failures_total',
      help: 'Judgements that could not be had; their answers wait and are tried again',
      registers,
    }),
    dropped: new Counter({
      name: 'llm_scoring_dropped_total',
      help: 'Answers that waited for too long and were dropped without a score',
      labelNames: ['application'],
      registers,
    }),
    setAside: new Counter({
      name: 'llm_scoring_set_aside_total',
      help: 'Answers that stay without a score, because a judge that scored others refused them again and again',
      labelNames: ['evaluator', 'application', 'revision', 'arm'],
      registers,
    }),
  };
}

export type EvaluatorMetrics = ReturnType<typeof createMetrics>;
