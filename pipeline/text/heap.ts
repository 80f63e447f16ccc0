/** A binary heap: the first of its values by an order, again and again. */
export class Heap<Value> {
  readonly #values: Value[] = [];

  constructor(private readonly isBefore: (a: Value, b: Value) => boolean) {}

  /** The value that comes first; undefined where there is none. */
  get first(): Value | undefined {
    return this.#values[0];
  }

  /** Adds a value. */
  push(value: Value): void {
    const values = this.#values;
    let at = values.push(value) - 1;
    for (
      let above = at - 1 >> 1;
      at > 0 && this.isBefore(value, values[above]);
      above = at - 1 >> 1
    ) {
      values[at] = values[above];
      at = above;
    }
    values[at] = value;
  }

  /** Takes the value that comes first. */
  pop(): Value | undefined {
    const values = this.#values;
    const [first] = values;
    const last = values.pop();
    if (last === undefined || values.length === 0) return first;
    let at = 0;
    for (let below = 1; below < values.length; below = 2 * at + 1) {
      if (below + 1 < values.length && this.isBefore(values[below + 1], values[below])) below++;
      if (!this.isBefore(values[below], last)) break;
      values[at] = values[below];
      at = below;
    }
    values[at] = last;
    return first;
  }
}
