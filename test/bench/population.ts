/** Simulated applications: users who differ, come back and make several requests, so that requests depend on each other. */
export interface Random {
  uniform(): number;
  normal(): number;
  /** Gamma with mean 1 and the given shape ≥ 1 (Marsaglia and Tsang 2000). */
  gamma(shape: number): number;
  poisson(mean: number): number;
}

/** xoshiro128** (Blackman and Vigna), seeded by splitmix32. */
export function randomOf(seed: number): Random {
  let z = seed >>> 0;
  const split = () => {
    z = (z + 0x9e3779b9) >>> 0;
    let t = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    t = Math.imul(t ^ (t >>> 15), 0x735a2d97);
    return (t ^ (t >>> 15)) >>> 0;
  };
  let [a, b, c, d] = [split(), split(), split(), split()];
  const uniform = () => {
    const r = Math.imul(b, 5);
    const result = Math.imul((r << 7) | (r >>> 25), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return (result + 0.5) / 4294967296;
  };
  let spare: number | null = null;
  const normal = () => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  const gamma = (shape: number): number => {
    const k = shape - 1 / 3;
    for (;;) {
      const x = normal();
      const v = (1 + x / Math.sqrt(9 * k)) ** 3;
      if (v > 0 && Math.log(uniform()) < x * x * 0.5 + k * (1 - v + Math.log(v))) return (k * v) / shape;
    }
  };
  const poisson = (mean: number) => {
    const limit = Math.exp(-mean);
    let n = 0;
    for (let p = uniform(); p > limit; p *= uniform()) n += 1;
    return n;
  };
  return { uniform, normal, gamma, poisson };
}

/** What one user brings along, once. */
export interface Person {
  canary: boolean;
  /** Standard normal traits, one for each metric that wants one. */
  traits: number[];
}

/** Raw value of a metric for one request. `hour` counts from the start of the canary. */
export type Generator = (person: Person, hour: number, random: Random) => number;

export interface Population {
  /** Users, both arms; with `growing` they arrive evenly over the time, else most are there on the first days. */
  users: number;
  growing: boolean;
  requestsPerDay: number;
  weight: number;
  traits: number;
  metrics: Record<string, Generator>;
}

export interface Request {
  hour: number;
  user: number;
}

/** All requests of a simulated canary, by hour. Activity of users varies (gamma, shape 1.5), and by the hour of the day. */
export function requestsOf(
  population: Population,
  hours: number,
  random: Random,
): { people: Person[]; byHour: number[][] } {
  const byHour: number[][] = Array.from({ length: hours }, () => []);
  const people: Person[] = [];
  const days = Math.ceil(hours / 24);
  for (let user = 0; user < population.users; user += 1) {
    people.push({
      canary: random.uniform() < population.weight,
      traits: Array.from({ length: population.traits }, () => random.normal()),
    });
    const rate = population.requestsPerDay * random.gamma(1.5);
    const begins = population.growing ? random.uniform() * days : 0;
    for (let day = Math.floor(begins); day < days; day += 1) {
      const requests = random.poisson(rate);
      for (let request = 0; request < requests; request += 1) {
        // Two of three requests in the busier half of the day.
        const hour =
          24 * day +
          Math.floor(
            random.uniform() < 2 / 3 ? 8 + 12 * random.uniform() : (20 + 12 * random.uniform()) % 24,
          );
        if (hour < hours && hour >= 24 * begins) byHour[hour]?.push(user);
      }
    }
  }
  return { people, byHour };
}
