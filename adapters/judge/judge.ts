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

export interface Judge {
  /** @throws Error when there is no judgement: the endpoint does not answer, or with none. Its message holds no text that was judged. */
  score(answer: Judgeable, options?: { signal?: AbortSignal | undefined }): Promise<Judgement>;
}
