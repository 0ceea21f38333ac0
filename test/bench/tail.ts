import { NumberColumn } from '../../domain/gate/columns.ts';

/** A metric's rows and histograms by user and day, as columns that grow. */
export class Tail {
  readonly arm = NumberColumn.bytes();
  readonly stratum = NumberColumn.doubles();
  readonly user = NumberColumn.integers();
  readonly n = NumberColumn.doubles();
  readonly barArm = NumberColumn.bytes();
  readonly barStratum = NumberColumn.doubles();
  readonly barUser = NumberColumn.integers();
  readonly barBucket = NumberColumn.shorts();
  readonly barN = NumberColumn.doubles();
  private readonly rowOf: Int32Array;
  private readonly barOf = new Map<number, number>();

  constructor(slots: number) {
    this.rowOf = new Int32Array(slots).fill(-1);
  }

  add(slot: number, user: number, arm: 0 | 1, stratum: number, bucket: number): void {
    let row = this.rowOf[slot] ?? -1;
    if (row < 0) {
      row = this.n.length;
      this.rowOf[slot] = row;
      this.arm.push(arm);
      this.stratum.push(stratum);
      this.user.push(user);
      this.n.push(0);
    }
    this.n.set(row, this.n.at(row) + 1);
    const place = row * 4096 + bucket + 2048;
    let bar = this.barOf.get(place);
    if (bar === undefined) {
      bar = this.barN.length;
      this.barOf.set(place, bar);
      this.barArm.push(arm);
      this.barStratum.push(stratum);
      this.barUser.push(user);
      this.barBucket.push(bucket);
      this.barN.push(0);
    }
    this.barN.set(bar, this.barN.at(bar) + 1);
  }
}
