import { createHash, randomBytes } from 'node:crypto';

/**
 * How the kernel names what an agent has there, so that all of it can be found when the agent was killed. The first five hexadecimal
 * digits are the state folder's, the other three this run's: a new agent removes what earlier ones with its folder left behind, while
 * their reapers, still at work, keep off what is its own.
 */
export class Footprint {
  readonly #owner: string;
  readonly #run: string;

  constructor(stateFolder: string) {
    this.#owner = createHash('sha256').update(stateFolder).digest('hex').slice(0, 5);
    this.#run = randomBytes(2).toString('hex').slice(0, 3);
  }

  /** The name that one agent at a time can hold. */
  get lock(): string {
    return `simulator-nodes-${this.#owner}`;
  }

  /** In the environment of every container. */
  get mark(): string {
    return `${this.#owner}.${this.#run}`;
  }

  /** What every mark of the folder's agents begins with. */
  get marks(): string {
    return `${this.#owner}.`;
  }

  /** Of the addresses. */
  get label(): string {
    return `lo:s${this.#owner}${this.#run}`;
  }

  /** Matches the labels of the folder's agents. */
  get labels(): string {
    return `lo:s${this.#owner}*`;
  }

  /** Of the route: an unsigned number of 32 bits. */
  get metric(): number {
    return Number.parseInt(this.#owner + this.#run, 16);
  }

  /** Whether a route's metric is one of the folder's agents. */
  hasMetric(metric: number): boolean {
    return metric.toString(16).padStart(8, '0').startsWith(this.#owner);
  }
}
