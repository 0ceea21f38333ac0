/** What people are told about a release: no prompt text, no users. */
export interface Notice {
  /** The same for every attempt to deliver it, so that a receiver can tell a repetition. */
  id: string;
  release: string;
  application: string;
  /** E.g. `sign-off-requested`, `rolled-back`. */
  event: string;
  stage: string;
  text: string;
  /** ISO 8601. */
  at: string;
}

/** `retry`: it may pass by itself; `refused`: it will not. */
export type Delivery = { kind: 'delivered' } | { kind: 'retry' | 'refused'; message: string };

/** One way of telling people. It never throws for a receiver that does not take it. */
export interface NoticeSink {
  /** For logs; without secrets that an address may hold. */
  name: string;
  deliver(notice: Notice): Promise<Delivery>;
}
