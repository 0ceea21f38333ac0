/** Time as the engine sees it, in milliseconds; tests bring their own. */
export interface Clock {
  now(): number;
  /** Runs the callback once after this long; the function that is returned cancels it. */
  after(milliseconds: number, run: () => void): () => void;
}

export const realClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
};
