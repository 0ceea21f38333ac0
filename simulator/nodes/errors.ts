/** Something that a person must mend before the nodes can run: what is wrong and what to do about it. */
export class NodesError extends Error {
  override name = 'NodesError';
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}
