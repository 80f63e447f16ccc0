/**
 * Holds what takes much memory within a budget: each thing is loaded once, when it is first asked for, is leased to all who
 * ask for it, and leaves when its room is needed and nobody uses it, the least recently used first.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";

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
  /** The same key is the same thing. */
  key: string;
  /** What messages call it. */
  name: string;
  /** Says about how many bytes it will take. Is asked only where memory is limited. */
  size(): Promise<number>;
  /** Loads it. */
  load(): Promise<Value>;
}

/** The right to use a thing until it is disposed of: `using lease = await …`. */
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
   * the first who waits {@linkcode MOST_PASSES} times. To wait for a second lease while holding one may be to wait forever.
   *
   * @throws {InputError} if the thing alone exceeds the budget.
   */
  lease<Value extends Held>(loader: Loader<Value>, signal?: AbortSignal): Promise<Lease<Value>>;
  /** Frees what nobody has used for so many milliseconds. */
  freeIdle(milliseconds: number): void;
  /** Frees everything; who waits is told so. */
  close(): void;
}

const MEMORY = setting("memory");

/** How often the first who waits for room may be passed by others whose thing is held. */
export const MOST_PASSES = 256;

interface Entry {
  bytes: number;
  users: number; // whoever loads it is one of them
  used: number; // when a user came or left, in milliseconds
  value: Promise<Held>;
  loaded?: Held;
}

interface Waiter {
  loader: Loader<Held>;
  size?: number | "asked";
  passes: number;
  resolve(entry: Entry): void;
  reject(error: unknown): void;
}

/** Makes room for things within a budget; nothing is held yet. */
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

  /** Frees idle things, unless even that would not make room. */
  function makeRoom(things: number, need: number): boolean {
    const idle = [...held].filter(([, { users }]) => users === 0);
    const idleBytes = idle.reduce((sum, [, entry]) => sum + entry.bytes, 0);
    if (held.size - idle.length + things > models || bytes() - idleBytes + need > memory) return false;
    for (const [key, entry] of idle) {
      if (held.size + things <= models && bytes() + need <= memory) break;
      evict(key, entry);
    }
    return true;
  }

  function checkSize(name: string, size: number): void {
    if (size <= memory) return;
    throw new InputError(
      say`Cannot load ${name} as it must fit ${MEMORY}: it takes ${size} bytes, the limit is ${memory}`,
      { remedy: "allow more memory" },
    );
  }

  /** Finds out how much room a waiter needs; undefined until that is known. */
  function sizeOf(waiter: Waiter): number | undefined {
    if (memory === Infinity) return 0;
    if (typeof waiter.size === "number") return waiter.size;
    if (waiter.size === undefined) {
      waiter.size = "asked";
      waiter.loader.size().then((size) => {
        checkSize(waiter.loader.name, size);
        waiter.size = size;
      }).catch((error) => {
        waiters.delete(waiter);
        waiter.reject(error);
      }).then(serve);
    }
    return undefined;
  }

  function load(loader: Loader<Held>, size: number): Entry {
    counts.loads++;
    const { key, name } = loader;
    const entry: Entry = { bytes: size, users: 1, used: performance.now(), value: loader.load() };
    held.set(key, entry);
    entry.value = entry.value.then((value) => {
      try {
        if (closed) throw closed;
        checkSize(name, value.bytes);
      } catch (error) {
        value.close();
        throw error;
      }
      entry.bytes = value.bytes;
      return entry.loaded = value;
    });
    entry.value.catch(() => held.get(key) === entry && held.delete(key)).then(() => {
      entry.users--;
      for (const waiter of waiters) if (waiter.size !== "asked") waiter.size = undefined; // sizes that were estimates may be known now
      makeRoom(0, 0); // it may have taken more than its estimate
      serve();
    });
    return entry;
  }

  /** Counts a user more or fewer: either way it is used now. */
  function use(key: string, entry: Entry, users: 1 | -1): void {
    entry.users += users;
    entry.used = performance.now();
    if (held.get(key) !== entry) return;
    held.delete(key);
    held.set(key, entry);
  }

  /** Whether something is being loaded whose size is only an estimate: loading more beside it could exceed the budget. */
  const isUnsure = () => memory < Infinity && held.values().some(({ loaded }) => loaded === undefined);

  /** Serves whoever can be served. */
  function serve(): void {
    let first: Waiter | undefined; // who waits for room
    for (const waiter of [...waiters]) {
      const { key } = waiter.loader;
      let entry = held.get(key);
      if (entry === undefined && first === undefined && !isUnsure()) {
        const size = sizeOf(waiter);
        if (size !== undefined && makeRoom(1, size)) entry = load(waiter.loader, size);
      }
      if (entry === undefined) {
        first ??= waiter;
        continue;
      }
      if (first && ++first.passes > MOST_PASSES) return;
      waiters.delete(waiter);
      use(key, entry, 1);
      waiter.resolve(entry);
    }
  }

  return {
    get counts() {
      return { ...counts, bytes: bytes(), held: [...held.keys()] };
    },
    async lease<Value extends Held>(loader: Loader<Value>, signal?: AbortSignal): Promise<Lease<Value>> {
      signal?.throwIfAborted();
      if (closed) throw closed;
      const { promise, resolve, reject } = Promise.withResolvers<Entry>();
      const waiter: Waiter = { loader, passes: 0, resolve, reject };
      const leave = () => {
        if (!waiters.delete(waiter)) return;
        reject(signal!.reason);
        serve();
      };
      signal?.addEventListener("abort", leave);
      waiters.add(waiter);
      serve();
      const entry = await promise.finally(() => signal?.removeEventListener("abort", leave));
      let released = false;
      const release = () => {
        if (released) return;
        released = true;
        use(loader.key, entry, -1);
        serve();
      };
      try {
        const value = await entry.value as Value;
        signal?.throwIfAborted();
        return { value, [Symbol.dispose]: release };
      } catch (error) {
        release();
        throw error;
      }
    },
    freeIdle(milliseconds) {
      const since = performance.now() - milliseconds;
      for (const [key, entry] of held) {
        if (entry.users === 0 && entry.used <= since) evict(key, entry);
      }
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
