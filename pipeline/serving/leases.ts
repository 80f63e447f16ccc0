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
  /** Estimates how many bytes it will take. Only asked where memory is limited. */
  size(): Promise<number>;
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

/** Things that are held within a budget. */
export interface Leases {
  /** Says what happened so far. */
  readonly counts: LeaseCounts;
  /**
   * Leases a thing, and loads it first where it is not held. Who asks for one that is being loaded waits for that load. Who
   * needs room waits until there is some, in the order of asking; a thing that is held is leased at once, unless that passed
   * the first who waits {@linkcode MOST_PASSES} times. To wait for a second lease while holding one may be to wait forever: who
   * needs several things asks for all at once.
   *
   * @throws {InputError} if the thing alone exceeds the budget.
   */
  lease<Value extends Held>(loader: Loader<Value>, signal?: AbortSignal): Promise<Lease<Value>>;
  /**
   * Leases several different things at once, as {@linkcode Leases.lease} does one: none is taken before there is room for all, so that
   * nobody who waits holds anything.
   *
   * @throws {InputError} if they together exceed the budget.
   */
  leaseAll<Value extends Held>(
    loaders: readonly Loader<Value>[],
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>>;
  /** Frees the things that nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void;
  /**
   * Forgets what is held: who asks for it from now on has it loaded anew. What is in use is freed when its
   * last user is done, and counts no more.
   */
  forget(): void;
  /** Frees everything. Callers that wait get an error. */
  close(): void;
}

const MEMORY = setting("memory");

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

interface Waiter {
  loaders: readonly Loader<Held>[];
  sizes?: number[] | "asked"; // of all of them
  passes: number;
  resolve(entries: Entry[]): void;
  reject(error: unknown): void;
}

const namesOf = (loaders: readonly Loader<Held>[]) => loaders.map(({ name }) => name).join(" and ");
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/** Opens an empty budget. */
export function createLeases({ memory = Infinity, models = Infinity }: Budget = {}): Leases {
  const held = new Map<string, Entry>(); // the least recently used first
  const waiters = new Set<Waiter>();
  const counts = { loads: 0, evictions: 0 };
  let closed: Error | undefined;
  const bytes = () => held.values().reduce((sum, entry) => sum + entry.bytes, 0);

  /** Frees a thing that nobody uses. */
  function evict(key: string, entry: Entry): void {
    held.delete(key);
    entry.loaded!.close();
    counts.evictions++;
  }

  /** Frees a thing that was forgotten, unless somebody uses it. */
  function freeForgotten({ isForgotten, users, loaded }: Entry): void {
    if (isForgotten && users === 0) loaded?.close();
  }

  /** Frees idle things, except those to `keep`, unless even that would not make enough room. */
  function makeRoom(things: number, need: number, keep: readonly Loader<Held>[] = []): boolean {
    const kept = new Set(keep.map(({ key }) => key));
    const idle = [...held].filter(([key, { users }]) => users === 0 && !kept.has(key));
    const idleBytes = sumOf(idle.map(([, { bytes }]) => bytes));
    if (held.size - idle.length + things > models || bytes() - idleBytes + need > memory) return false;
    for (const [key, entry] of idle) {
      if (held.size + things <= models && bytes() + need <= memory) break;
      evict(key, entry);
    }
    return true;
  }

  function checkSize(loaders: readonly Loader<Held>[], size: number): void {
    if (size <= memory) return;
    const [one, takes] = loaders.length === 1 ? ["it", "it takes"] : ["together they", "they take"];
    throw new (loaders.length === 1 ? InputError : RoomError)(
      say`Cannot load ${
        namesOf(loaders)
      } as ${one} must fit ${MEMORY}: ${takes} ${size} bytes, the limit is ${memory}`,
      { remedy: "allow more memory" },
    );
  }

  /** Finds out how much room each thing needs that a caller waits for; undefined until that is known. */
  function sizesOf(waiter: Waiter): number[] | undefined {
    const { loaders } = waiter;
    if (memory === Infinity) return loaders.map(() => 0);
    if (Array.isArray(waiter.sizes)) return waiter.sizes;
    if (waiter.sizes === undefined) {
      waiter.sizes = "asked";
      Promise.all(loaders.map((loader) => loader.size())).then((sizes) => {
        checkSize(loaders, sumOf(sizes));
        waiter.sizes = sizes;
      }).catch((error) => {
        waiters.delete(waiter);
        waiter.reject(error);
      }).then(serve);
    }
    return undefined;
  }

  function load(loader: Loader<Held>, size: number): Entry {
    counts.loads++;
    const { key } = loader;
    const entry: Entry = { bytes: size, users: 1, used: performance.now(), value: loader.load() };
    held.set(key, entry);
    entry.value = entry.value.then((value) => {
      try {
        if (closed) throw closed;
        checkSize([loader], value.bytes);
      } catch (error) {
        value.close();
        throw error;
      }
      entry.bytes = value.bytes;
      return entry.loaded = value;
    });
    entry.value.catch(() => held.get(key) === entry && held.delete(key)).then(() => {
      entry.users--;
      freeForgotten(entry);
      for (const waiter of waiters) if (waiter.sizes !== "asked") waiter.sizes = undefined; // more is known now
      makeRoom(0, 0); // it may have taken more than was estimated
      serve();
    });
    return entry;
  }

  /** Counts one user more or fewer. Either way the thing is in use now. */
  function use(key: string, entry: Entry, users: 1 | -1): void {
    entry.users += users;
    entry.used = performance.now();
    freeForgotten(entry);
    if (held.get(key) !== entry) return;
    held.delete(key);
    held.set(key, entry);
  }

  /** Whether something is being loaded whose size is only an estimate: loading more beside it could exceed the budget. */
  const isUnsure = () => memory < Infinity && held.values().some(({ loaded }) => loaded === undefined);

  /** Serves every caller that can be served. */
  function serve(): void {
    let first: Waiter | undefined; // who waits for room
    for (const waiter of [...waiters]) {
      const { loaders } = waiter;
      let missing = loaders.filter(({ key }) => !held.has(key));
      if (missing.length > 0 && first === undefined && !isUnsure()) {
        const sizes = sizesOf(waiter);
        const need = sizes && missing.map((loader) => sizes[loaders.indexOf(loader)]);
        if (need && makeRoom(missing.length, sumOf(need), loaders)) {
          missing.forEach((loader, i) => load(loader, need[i]));
          missing = [];
        }
      }
      if (missing.length > 0) {
        first ??= waiter;
        continue;
      }
      if (first && ++first.passes > MOST_PASSES) return;
      waiters.delete(waiter);
      const entries = loaders.map(({ key }) => held.get(key)!);
      entries.forEach((entry, i) => use(loaders[i].key, entry, 1));
      waiter.resolve(entries);
    }
  }

  /** Leases things, all at once. */
  async function leaseAll<Value extends Held>(
    loaders: readonly Loader<Value>[],
    signal?: AbortSignal,
  ): Promise<Lease<Value[]>> {
    signal?.throwIfAborted();
    if (closed) throw closed;
    if (loaders.length > models) {
      throw new RoomError(
        `Cannot load ${namesOf(loaders)} as together they must fit the limit: it is ${models} models at once`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<Entry[]>();
    const waiter: Waiter = { loaders, passes: 0, resolve, reject };
    const leave = () => {
      if (!waiters.delete(waiter)) return;
      reject(signal!.reason);
      serve();
    };
    signal?.addEventListener("abort", leave);
    waiters.add(waiter);
    serve();
    const entries = await promise.finally(() => signal?.removeEventListener("abort", leave));
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      entries.forEach((entry, i) => use(loaders[i].key, entry, -1));
      serve();
    };
    try {
      const value = await Promise.all(entries.map((entry) => entry.value as Promise<Value>));
      signal?.throwIfAborted();
      checkSize(loaders, sumOf(value.map(({ bytes }) => bytes))); // more than was estimated
      return { value, [Symbol.dispose]: release };
    } catch (error) {
      release();
      throw error;
    }
  }

  return {
    get counts() {
      return { ...counts, bytes: bytes(), held: [...held.keys()] };
    },
    async lease(loader, signal) {
      const { value: [value], [Symbol.dispose]: release } = await leaseAll([loader], signal);
      return { value, [Symbol.dispose]: release };
    },
    leaseAll,
    freeIdle(milliseconds) {
      const since = performance.now() - milliseconds;
      for (const [key, entry] of held) {
        if (entry.users === 0 && entry.used <= since) evict(key, entry);
      }
    },
    forget() {
      for (const [key, entry] of held) {
        held.delete(key);
        entry.isForgotten = true;
        freeForgotten(entry);
      }
      serve();
    },
    close() {
      closed ??= new Error("Cannot lease as the mixture must be open: it was closed");
      for (const waiter of waiters) waiter.reject(closed);
      waiters.clear();
      for (const entry of held.values()) entry.loaded?.close();
      held.clear();
    },
  };
}
