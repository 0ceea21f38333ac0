/** A customer of the example: who, how often, and in which manner. */
export interface Customer {
  id: string;
  /** Whether the shop's app that this customer uses streams the answer. */
  streams: boolean;
  /** The field in which that app names its user. */
  idField: 'user' | 'safety_identifier';
  greeting: string;
  closing: string;
}

/** Numbers in [0, 1) that depend on the seed only (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const greetings = ['', '', 'Hi! ', 'Hello, ', 'Good morning, ', 'Hey, '];
const closings = ['', '', ' Thanks!', ' Thank you very much.', ' Please help.', ' Best regards'];

/** Spread of the customers' activity: with 0.7 (lognormal) the busiest tenth sends some 28 % of the requests. */
const ACTIVITY_SPREAD = 0.7;

/** Customers with different activity, and what they write; the same for the same seed. */
export class Crowd {
  readonly #customers: Customer[] = [];
  /** Running sums of the customers' activity. */
  readonly #activity: number[] = [];
  readonly #questions: readonly string[];
  readonly #random: () => number;

  constructor(size: number, questions: readonly string[], seed: number) {
    this.#questions = questions;
    this.#random = randomNumbers(seed);
    let total = 0;
    for (let index = 0; index < size; index++) {
      this.#customers.push({
        id: `customer-${String(index + 1).padStart(5, '0')}`,
        streams: this.#random() < 0.5,
        idField: this.#random() < 0.5 ? 'user' : 'safety_identifier',
        greeting: this.#pick(greetings),
        closing: this.#pick(closings),
      });
      total += Math.exp(ACTIVITY_SPREAD * this.#normal());
      this.#activity.push(total);
    }
  }

  /** The next customer, drawn by activity, and what this customer writes. */
  next(): { customer: Customer; text: string } {
    const customer = this.#draw();
    const question = this.#pick(this.#questions);
    const order =
      this.#random() < 0.5 ? ` My order is KM-${10_000 + Math.floor(this.#random() * 90_000)}.` : '';
    return { customer, text: `${customer.greeting}${question}${order}${customer.closing}` };
  }

  /** Seconds until the next request of a Poisson process with this rate. */
  pause(perSecond: number): number {
    return -Math.log(1 - this.#random()) / perSecond;
  }

  /** Whether something with this probability happens now. */
  happens(probability: number): boolean {
    return this.#random() < probability;
  }

  #draw(): Customer {
    const wanted = this.#random() * (this.#activity.at(-1) ?? 0);
    let low = 0;
    let high = this.#activity.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#activity[middle] ?? 0) > wanted) high = middle;
      else low = middle + 1;
    }
    const customer = this.#customers[low];
    if (customer === undefined) throw new RangeError('a crowd needs at least one customer');
    return customer;
  }

  #pick(choices: readonly string[]): string {
    return choices[Math.floor(this.#random() * choices.length)] ?? '';
  }

  /** Standard normal, by Box and Muller. */
  #normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random());
  }
}
