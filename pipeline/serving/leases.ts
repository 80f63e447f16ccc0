/**
 * Holds models within a budget of memory. Each is loaded when it is first asked for, and leased to
 * as many users as it has slots. When room is needed, models without users leave, the least
 * recently used first.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";

/** The models that a caller wants at once do not fit together. */
export class RoomError extends InputError {}

/** What may be held at once. */
export interface Budget {
  /** Most bytes. Default: no limit. */
  memory?: number;
  /** Most models. Default: no limit. */
  models?: number;
}

/** Something that takes memory. */
export interface Held {
  readonly bytes: number; // memory that it takes, in bytes
  close(reason: Error): void; // frees it. Whoever still uses it gets the reason
}

/** How a model is loaded. */
export interface Loader<Value extends Held> {
  key: string; // two loaders with the same key load the same model
  name: string; // what messages call it
  // Names all models that take as much memory: once one of them was loaded, its size counts.
  size: string;
  estimate: number; // of the bytes that it will take
  slots: number; // users that it may have at once
  load(): Promise<Value>;
}

/** The right to use something, until the lease is disposed of: `using lease = await …`. */
export interface Lease<Value> extends Disposable {
  readonly value: Value; // what is leased
}

/** What happened so far. */
export interface LeaseCounts {
  /** Loads begun. */
  loads: number;
  /** Models that left to make room, or because nobody used them. */
  evictions: number;
  /** Bytes of what is held. */
  bytes: number;
  /** Keys of what is held, the least recently used first. */
  held: string[];
}

/** How often users of what is held may pass the first who waits for room. */
const MOST_PASSES = 256;

interface Entry {
  key: string;
  bytes: number;
  users: number;
  used: number; // when a user came or left, in milliseconds
  value: Promise<Held>;
  loaded?: Held;
  closed?: Error; // why it was freed, once it was
}

interface Waiter extends PromiseWithResolvers<Entry[]> {
  loaders: readonly Loader<Held>[];
  passes: number;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** Models that are held within a budget. */
export class Leases {
  readonly #budget: Required<Budget>;
  readonly #held = new Map<string, Entry>(); // the least recently used first
  readonly #sizes = new Map<string, number>(); // of what was loaded
  readonly #waiters = new Set<Waiter>();
  readonly #counts = { loads: 0, evictions: 0 };

  constructor({ memory = Infinity, models = Infinity }: Budget = {}) {
    this.#budget = { memory, models };
  }

  /** What happened so far. */
  get counts(): LeaseCounts {
    return { ...this.#counts, bytes: this.#bytes(), held: [...this.#held.keys()] };
  }

  /**
   * Leases several different models at once, and loads those first that are not held. None is taken
   * before there are room and slots for all, so nobody who waits holds anything. Who needs room or
   * a slot waits in the order of asking. Users of what is held need no room: they pass those who
   * wait for it, but the first of these no more than {@linkcode MOST_PASSES} times.
   *
   * @throws {InputError} if the models exceed the budget.
   */
  async lease<Value extends Held>(
    loaders: readonly Loader<Value>[],
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>> {
    signal?.throwIfAborted();
    this.#check(loaders, loaders.map((loader) => this.#measure(loader)));
    const entries = await this.#wait(loaders, signal);
    using releasing = new DisposableStack();
    releasing.defer(() => {
      for (const entry of entries) this.#use(entry, -1);
      this.#serve();
    });
    const value = await Promise.all(entries.map((entry) => entry.value as Promise<Value>));
    signal?.throwIfAborted();
    for (const { closed } of entries) if (closed) throw closed;
    this.#check(loaders, value.map(({ bytes }) => bytes)); // more than was estimated
    const held = releasing.move();
    return { value, [Symbol.dispose]: () => held.dispose() };
  }

  /** Frees the models that nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void {
    const since = performance.now() - milliseconds;
    for (const entry of this.#idle()) if (entry.used <= since) this.#evict(entry);
  }

  /** Frees everything, also what is in use; who uses or waits for something gets the reason. */
  clear(reason: Error): void {
    for (const { reject } of this.#waiters) reject(reason);
    this.#waiters.clear();
    for (const entry of this.#held.values()) {
      entry.closed = reason;
      if (entry.loaded) entry.loaded.close(reason);
      else entry.value.then((value) => value.close(reason), () => {});
    }
    this.#held.clear();
  }

  async #wait(loaders: readonly Loader<Held>[], signal?: AbortSignal): Promise<Entry[]> {
    const waiter: Waiter = { loaders, passes: 0, ...Promise.withResolvers<Entry[]>() };
    const leave = () => {
      this.#waiters.delete(waiter);
      waiter.reject(signal!.reason);
      this.#serve();
    };
    signal?.addEventListener("abort", leave);
    this.#waiters.add(waiter);
    this.#serve();
    return await waiter.promise.finally(() => signal?.removeEventListener("abort", leave));
  }

  /** Serves every caller that can be served. */
  #serve(): void {
    this.#makeRoom(0, 0); // what was loaded may take more than was estimated
    let first: Waiter | undefined; // who waits for room
    const full = new Set<string>(); // keys of which those before want the next slot
    for (const waiter of [...this.#waiters]) {
      const { loaders, resolve } = waiter;
      const hasSlot = ({ key, slots }: Loader<Held>) =>
        !full.has(key) && (this.#held.get(key)?.users ?? 0) < slots;
      if (!loaders.every(hasSlot)) {
        for (const { key } of loaders) full.add(key);
        continue;
      }
      const missing = loaders.filter(({ key }) => !this.#held.has(key));
      if (missing.length > 0 && (first || !this.#loadAll(missing, loaders))) {
        first ??= waiter;
        continue;
      }
      if (first && ++first.passes > MOST_PASSES) return;
      this.#waiters.delete(waiter);
      resolve(loaders.map(({ key }) => this.#use(this.#held.get(key)!, 1)));
    }
  }

  /** Loads models, and keeps others. Returns whether there is room for that now. */
  #loadAll(missing: readonly Loader<Held>[], keep: readonly Loader<Held>[]): boolean {
    const isUnsure = this.#budget.memory < Infinity &&
      this.#held.values().some(({ loaded }) => !loaded);
    if (isUnsure) return false; // the size of what is being loaded is only an estimate
    const need = sum(missing.map((loader) => this.#measure(loader)));
    if (!this.#makeRoom(missing.length, need, keep)) return false;
    for (const loader of missing) this.#load(loader);
    return true;
  }

  #load(loader: Loader<Held>): void {
    this.#counts.loads++;
    const { key, size } = loader;
    const value = loader.load();
    const entry: Entry = {
      key,
      bytes: this.#measure(loader),
      users: 0,
      used: performance.now(),
      value,
    };
    this.#held.set(key, entry);
    value.then((loaded) => {
      entry.loaded = loaded;
      entry.bytes = loaded.bytes;
      this.#sizes.set(size, loaded.bytes);
    }, () => this.#held.get(key) === entry && this.#held.delete(key)).then(() => this.#serve());
  }

  /** Counts one user more or fewer. Either way the model is in use now. */
  #use(entry: Entry, users: 1 | -1): Entry {
    entry.users += users;
    entry.used = performance.now();
    const { key } = entry;
    if (this.#held.get(key) === entry) {
      this.#held.delete(key);
      this.#held.set(key, entry);
    }
    return entry;
  }

  /** Frees idle models, except those to `keep`, unless even that would not make enough room. */
  #makeRoom(models: number, need: number, keep: readonly Loader<Held>[] = []): boolean {
    const idle = this.#idle().filter((entry) => !keep.some(({ key }) => key === entry.key));
    const fits = (count: number, bytes: number) =>
      this.#held.size - count + models <= this.#budget.models &&
      this.#bytes() - bytes + need <= this.#budget.memory;
    const isPossible = fits(idle.length, sum(idle.map(({ bytes }) => bytes)));
    for (const entry of idle) if (isPossible && !fits(0, 0)) this.#evict(entry);
    return isPossible;
  }

  #idle(): Entry[] {
    return [...this.#held.values()].filter(({ users, loaded }) => users === 0 && loaded);
  }

  #evict(entry: Entry): void {
    this.#held.delete(entry.key);
    entry.loaded!.close(new Error("it was evicted")); // to nobody, as it has no user
    this.#counts.evictions++;
  }

  #bytes(): number {
    return sum([...this.#held.values()].map(({ bytes }) => bytes));
  }

  #measure({ size, estimate }: Loader<Held>): number {
    return this.#sizes.get(size) ?? estimate;
  }

  #check(loaders: readonly Loader<Held>[], sizes: readonly number[]): void {
    const { models, memory } = this.#budget;
    const names = loaders.map(({ name }) => name).join(" and ");
    if (loaders.length > models) {
      throw new RoomError(
        `Cannot load ${names} as at most ${models} models may be held: they are more`,
      );
    }
    const bytes = sum(sizes);
    if (bytes <= memory) return;
    const fact = `${bytes} bytes are needed, the limit is ${memory}`;
    const refusal = say`Cannot load ${names} as ${setting("memory")} must suffice: ${fact}`;
    throw new (loaders.length === 1 ? InputError : RoomError)(refusal, {
      remedy: "allow more memory",
    });
  }
}
