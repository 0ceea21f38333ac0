type Numbers = Float64Array | Int32Array | Int16Array | Uint8Array;

/** A growing column of numbers: millions of samples are too many to be objects. */
export class NumberColumn<Data extends Numbers> {
  readonly #make: (length: number) => Data;
  #data: Data;
  length = 0;

  private constructor(make: (length: number) => Data) {
    this.#make = make;
    this.#data = make(1024);
  }

  static doubles(): NumberColumn<Float64Array> {
    return new NumberColumn((length) => new Float64Array(length));
  }

  static integers(): NumberColumn<Int32Array> {
    return new NumberColumn((length) => new Int32Array(length));
  }

  static shorts(): NumberColumn<Int16Array> {
    return new NumberColumn((length) => new Int16Array(length));
  }

  static bytes(): NumberColumn<Uint8Array> {
    return new NumberColumn((length) => new Uint8Array(length));
  }

  push(value: number): void {
    if (this.length === this.#data.length) {
      const larger = this.#make(2 * this.length);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.length] = value;
    this.length += 1;
  }

  /** @throws RangeError beyond the end */
  at(index: number): number {
    const value = this.#data[index];
    if (value === undefined || index >= this.length) throw new RangeError(`no row ${index}`);
    return value;
  }

  set(index: number, value: number): void {
    this.#data[index] = value;
  }

  /** The numbers so far, to be read before the next change. */
  view(): Data {
    return this.#data.subarray(0, this.length) as Data;
  }
}
