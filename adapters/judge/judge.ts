/** An answer to be judged. Neither arm nor revision: a judge that does not know them cannot favour one (invariant 12). */
export interface Judgeable {
  /** What the user asked. */
  input: string;
  /** What the model answered. */
  output: string;
  /** A right answer, when one is known. */
  expected?: string | undefined;
  /** What a good answer does, as a sentence. */
  criteria: string;
}

export interface Judgement {
  /** 0 (worst) to 1 (best). */
  score: number;
  /** Why, when the judge was asked to say. */
  rationale: string | null;
}

/** The judge answered, and not with a judgement: it may have one of other answers, and never of this one. */
export class UnjudgeableError extends Error {}

export interface Judge {
  /**
   * @throws UnjudgeableError when this answer gets no judgement; another Error when none does: the endpoint is away, or refuses us. The
   * messages hold no text that was judged.
   */
  score(answer: Judgeable, options?: { signal?: AbortSignal | undefined }): Promise<Judgement>;
}
