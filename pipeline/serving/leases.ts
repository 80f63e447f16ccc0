/**
 * Holds things that take much memory within a budget. Each thing is loaded once, when it is first asked for,
 * and is leased to everyone who asks for it. When room is needed, things that nobody uses leave, the least
 * recently used first.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";

/** Things that a caller wants at once, of which there is no room for all. */
export class RoomError extends InputError {}

/** What may be held at once. */
export interface Budget {
  /** Most bytes. Default: no limit. */
  memory?: number;
  /** Most things. Default: no limit. */
  models?: number;
}

/** Something that takes memory. */
export interface Held {
  /** Memory that it takes, in bytes. */
  readonly bytes: number;
  /** Frees it. */
  close(): void;
}

/** How a thing is loaded. */
export interface Loader<Value extends Held> {
  /** Key: two loaders with the same key load the same thing. */
  key: string;
  /** What messages call it. */
  name: string;
  /** Names all things that take as much memory. Once one of them was loaded, its size counts. */
  size: string;
  /** Estimates how many bytes it will take. */
  estimate: number;
  /** Loads it. */
  load(): Promise<Value>;
}

/** The right to use a thing, until the lease is disposed of: `using lease = await …`. */
export interface Lease<Value> extends Disposable {
  /** The thing. */
  readonly value: Value;
}

/** What happened so far. */
export interface LeaseCounts {
  /** Loads begun. */
  loads: number;
  /** Things that left to make room, or because nobody used them. */
  evictions: number;
  /** Bytes of what is held. */
  bytes: number;
  /** Keys of what is held, the least recently used first. */
  held: string[];
}

/** How often others whose thing is held may pass the first who waits for room. */
export const MOST_PASSES = 256;

interface Entry {
  bytes: number;
  users: number; // the caller that loads it counts as one
  used: number; // when a user came or left, in milliseconds
  value: Promise<Held>;
  loaded?: Held;
  isForgotten?: boolean;
}

interface Waiter extends PromiseWithResolvers<Entry[]> {
  loaders: readonly Loader<Held>[];
  passes: number;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const closed = () => new Error("Cannot lease as the mixture must be open: it was closed");

/** Things that are held within a budget. */
export class Leases {
  readonly #memory: number;
  readonly #models: number;
  readonly #held = new Map<string, Entry>(); // the least recently used first
  readonly #sizes = new Map<string, number>(); // of what was loaded
  readonly #waiters = new Set<Waiter>();
  readonly #counts = { loads: 0, evictions: 0 };
  #isClosed = false;

  /** Opens an empty budget. */
  constructor({ memory = Infinity, models = Infinity }: Budget = {}) {
    this.#memory = memory;
    this.#models = models;
  }

  /** What happened so far. */
  get counts(): LeaseCounts {
    return { ...this.#counts, bytes: this.#bytes(), held: [...this.#held.keys()] };
  }

  /**
   * Leases several different things at once, and loads those first that are not held. Who asks for one that is
   * being loaded waits for that load. None is taken before there is room for all, so nobody who waits holds
   * anything. Who needs room waits in the order of asking. What is held is leased at once, unless that passed
   * the first who waits {@linkcode MOST_PASSES} times.
   *
   * @throws {InputError} if the things exceed the budget.
   */
  async leaseAll<Value extends Held>(
    loaders: readonly Loader<Value>[],
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw closed();
    this.#check(loaders, sum(loaders.map((loader) => this.#sizeOf(loader))));
    const entries = await this.#wait(loaders, signal);
    using releasing = new DisposableStack();
    releasing.defer(() => {
      entries.forEach((entry, i) => this.#use(loaders[i].key, entry, -1));
      this.#serve();
    });
    const value = await Promise.all(entries.map((entry) => entry.value as Promise<Value>));
    signal?.throwIfAborted();
    if (this.#isClosed) throw closed();
    this.#check(loaders, sum(value.map(({ bytes }) => bytes))); // more than was estimated
    const held = releasing.move();
    return { value, [Symbol.dispose]: () => held.dispose() };
  }

  /** Leases one thing, as {@linkcode leaseAll} does several. */
  async lease<Value extends Held>(loader: Loader<Value>, signal?: AbortSignal): Promise<Lease<Value>> {
    const { value: [value], [Symbol.dispose]: dispose } = await this.leaseAll([loader], signal);
    return { value, [Symbol.dispose]: dispose };
  }

  /** Frees the things that nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void {
    const since = performance.now() - milliseconds;
    for (const [key, entry] of this.#held) {
      if (entry.users === 0 && entry.used <= since) this.#evict(key, entry);
    }
  }

  /**
   * Forgets what is held: who asks for it from now on has it loaded anew. What is in use is freed when its
   * last user is done, and counts no more.
   */
  forget(): void {
    for (const entry of this.#held.values()) {
      entry.isForgotten = true;
      freeForgotten(entry);
    }
    this.#held.clear();
    this.#serve();
  }

  /** Frees everything, also what is in use. Callers that wait get an error. */
  close(): void {
    this.#isClosed = true;
    for (const { reject } of this.#waiters) reject(closed());
    this.#waiters.clear();
    for (const { loaded, value } of this.#held.values()) {
      if (loaded) loaded.close();
      else value.then((value) => value.close(), () => {});
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
    for (const waiter of [...this.#waiters]) {
      const { loaders, resolve } = waiter;
      const missing = loaders.filter(({ key }) => !this.#held.has(key));
      if (missing.length > 0 && (first || !this.#loadAll(missing, loaders))) {
        first ??= waiter;
        continue;
      }
      if (first && ++first.passes > MOST_PASSES) return;
      this.#waiters.delete(waiter);
      resolve(loaders.map(({ key }) => this.#use(key, this.#held.get(key)!, 1)));
    }
  }

  /** Loads things, and keeps others. Says whether there is room for that now. */
  #loadAll(missing: readonly Loader<Held>[], keep: readonly Loader<Held>[]): boolean {
    const isUnsure = this.#memory < Infinity && this.#held.values().some(({ loaded }) => !loaded);
    if (isUnsure) return false; // the size of what is being loaded is only an estimate
    const need = sum(missing.map((loader) => this.#sizeOf(loader)));
    if (!this.#makeRoom(missing.length, need, keep)) return false;
    for (const loader of missing) this.#load(loader);
    return true;
  }

  #load(loader: Loader<Held>): void {
    this.#counts.loads++;
    const { key, size } = loader;
    const value = loader.load();
    const entry: Entry = { bytes: this.#sizeOf(loader), users: 1, used: performance.now(), value };
    this.#held.set(key, entry);
    value.then((loaded) => {
      entry.loaded = loaded;
      entry.bytes = loaded.bytes;
      this.#sizes.set(size, loaded.bytes);
    }, () => this.#held.get(key) === entry && this.#held.delete(key)).then(() => {
      entry.users--;
      freeForgotten(entry);
      this.#serve();
    });
  }

  /** Counts one user more or fewer. Either way the thing is in use now. */
  #use(key: string, entry: Entry, users: 1 | -1): Entry {
    entry.users += users;
    entry.used = performance.now();
    freeForgotten(entry);
    if (this.#held.get(key) === entry) {
      this.#held.delete(key);
      this.#held.set(key, entry);
    }
    return entry;
  }

  /** Frees idle things, except those to `keep`, unless even that would not make enough room. */
  #makeRoom(things: number, need: number, keep: readonly Loader<Held>[] = []): boolean {
    const kept = new Set(keep.map(({ key }) => key));
    const idle = [...this.#held].filter(([key, { users }]) => users === 0 && !kept.has(key));
    const fits = (count: number, bytes: number) =>
      this.#held.size - count + things <= this.#models && this.#bytes() - bytes + need <= this.#memory;
    const isPossible = fits(idle.length, sum(idle.map(([, { bytes }]) => bytes)));
    for (const [key, entry] of idle) if (isPossible && !fits(0, 0)) this.#evict(key, entry);
    return isPossible;
  }

  #evict(key: string, entry: Entry): void {
    this.#held.delete(key);
    entry.loaded!.close();
    this.#counts.evictions++;
  }

  #bytes(): number {
    return sum([...this.#held.values()].map(({ bytes }) => bytes));
  }

  #sizeOf({ size, estimate }: Loader<Held>): number {
    return this.#sizes.get(size) ?? estimate;
  }

  #check(loaders: readonly Loader<Held>[], bytes: number): void {
    const [isOne, names] = [loaders.length === 1, loaders.map(({ name }) => name).join(" and ")];
    if (loaders.length > this.#models) {
      const fact = `it is ${this.#models} models at once`;
      throw new RoomError(`Cannot load ${names} as together they must fit the limit: ${fact}`);
    }
    if (bytes <= this.#memory) return;
    const [subject, takes] = isOne ? ["it", "it takes"] : ["together they", "they take"];
    const fact = `${takes} ${bytes} bytes, the limit is ${this.#memory}`;
    throw new (isOne ? InputError : RoomError)(
      say`Cannot load ${names} as ${subject} must fit ${setting("memory")}: ${fact}`,
      { remedy: "allow more memory" },
    );
  }
}

/** Frees a thing that was forgotten, unless somebody uses it. */
function freeForgotten({ isForgotten, users, loaded }: Entry): void {
  if (isForgotten && users === 0) loaded?.close();
}
