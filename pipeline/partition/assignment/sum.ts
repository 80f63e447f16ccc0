/** Adds up millions of costs without losing what tells one assignment from another: the error of each addition is kept (Neumaier). */
export class Sum {
  #sum = 0;
  #lost = 0;

  /** Adds a number. */
  add(x: number): void {
    const next = this.#sum + x;
    this.#lost += Math.abs(this.#sum) >= Math.abs(x) ? (this.#sum - next) + x : (x - next) + this.#sum;
    this.#sum = next;
  }

  /** The sum so far. */
  get value(): number {
    return this.#sum + this.#lost;
  }
}
