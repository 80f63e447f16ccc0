import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type Budget, type Held, type Lease, Leases, MOST_PASSES } from "../../../pipeline/serving/leases.ts";

/** A store of things whose loads end when told; sizes are 10 unless said. */
function store(budget: Budget, sizes: Record<string, number> = {}) {
  const leases = new Leases(budget);
  const loading = new Map<string, { done(): void; fail(error: Error): void }>();
  const freed: string[] = [];
  const bytes = (name: string) => sizes[name] ?? 10;
  const loader = (name: string) => ({
    key: name,
    name: `the thing ${name}`,
    size: name,
    estimate: bytes(name),
    load: () =>
      new Promise<Held & { name: string }>((resolve, reject) =>
        loading.set(name, {
          done: () => resolve({ name, bytes: bytes(name), close: () => freed.push(name) }),
          fail: reject,
        })
      ),
  });
  return {
    leases,
    loading,
    freed,
    take: (name: string, signal?: AbortSignal) => leases.lease(loader(name), signal),
    takeAll: (names: string[], signal?: AbortSignal) => leases.leaseAll(names.map(loader), signal),
  };
}

/** Lets everything happen that needs no one. */
const settle = () => new Promise((resolve) => setTimeout(resolve));

/** Leases a thing and ends its load. */
async function taken({ take, loading }: ReturnType<typeof store>, name: string): Promise<Lease<Held>> {
  const lease = take(name);
  await settle();
  loading.get(name)?.done();
  return await lease;
}

/** Says, once all is quiet, which of some leases are granted. */
async function granted(leases: Record<string, Promise<unknown>>): Promise<string> {
  const names: string[] = [];
  for (const [name, lease] of Object.entries(leases)) lease.then(() => names.push(name), () => {});
  await settle();
  return names.join();
}

Deno.test("lease() loads a thing once for all who ask while it comes, and keeps it", async () => {
  const all = store({ memory: 20 });
  const [a, b] = [all.take("x"), all.take("x")];
  await settle();
  assertEquals(await granted({ a, b }), "");
  all.loading.get("x")!.done();
  assert((await a).value === (await b).value);
  (await a)[Symbol.dispose]();
  (await b)[Symbol.dispose]();
  (await taken(all, "x"))[Symbol.dispose]();
  assertEquals(all.leases.counts, { loads: 1, evictions: 0, bytes: 10, held: ["x"] });
});

Deno.test("lease() evicts the idle thing that was used longest ago, and no more than is needed", async () => {
  const all = store({ memory: 30 }, { small: 5 });
  for (const name of ["a", "b", "c", "a"]) (await taken(all, name))[Symbol.dispose]();
  (await taken(all, "small"))[Symbol.dispose]();
  assertEquals([all.freed, all.leases.counts.held], [["b"], ["c", "a", "small"]]);
  (await taken(all, "d"))[Symbol.dispose]();
  assertEquals([all.freed, all.leases.counts.held], [["b", "c"], ["a", "small", "d"]]);
  assertEquals(all.leases.counts.bytes, 25);
});

Deno.test("lease() never evicts what is in use, and evicts nothing in vain", async () => {
  const all = store({ memory: 30 }, { large: 25 });
  const a = await taken(all, "a");
  (await taken(all, "b"))[Symbol.dispose]();
  const large = all.take("large");
  assertEquals([await granted({ large }), all.freed.length], ["", 0]); // without b it would not fit either
  a[Symbol.dispose]();
  a[Symbol.dispose](); // once more changes nothing
  await settle();
  assertEquals(all.freed, ["b", "a"]);
  all.loading.get("large")!.done();
  (await large)[Symbol.dispose]();
});

Deno.test("lease() serves those who need room in the order of asking", async () => {
  const all = store({ memory: 20 }, { large: 20 });
  const [a, b] = [await taken(all, "a"), await taken(all, "b")];
  const large = all.take("large");
  const c = all.take("c"); // would fit earlier
  a[Symbol.dispose]();
  assertEquals(await granted({ large, c }), "");
  b[Symbol.dispose]();
  await settle();
  all.loading.get("large")!.done();
  assertEquals(await granted({ large, c }), "large");
  (await large)[Symbol.dispose]();
  await settle();
  all.loading.get("c")!.done();
  assertEquals(await granted({ c }), "c");
});

Deno.test("lease() lets a bounded number pass who waits for room", async () => {
  const all = store({ memory: 10 });
  const leases = [await taken(all, "a")];
  const b = all.take("b");
  await settle();
  for (let i = 0; i < MOST_PASSES; i++) leases.push(await all.take("a"));
  const late = all.take("a");
  assertEquals(await granted({ b, late }), "");
  for (const lease of leases) lease[Symbol.dispose]();
  await settle();
  all.loading.get("b")!.done();
  assertEquals(await granted({ b, late }), "b");
  (await b)[Symbol.dispose]();
  await settle();
  all.loading.get("a")!.done();
  await late;
  assertEquals(all.leases.counts.loads, 3);
});

Deno.test("lease() refuses what exceeds the budget with both numbers, before and after it is loaded", async () => {
  const all = store({ memory: 20 }, { large: 21 });
  const message = "Cannot load the thing large as it must fit memory: it takes 21 bytes, the limit is 20";
  await assertRejects(() => all.take("large"), InputError, message);
  assertEquals(all.leases.counts.loads, 0);
  let closed = false;
  const loader = {
    key: "larger than thought",
    name: "larger than thought",
    size: "",
    estimate: 1,
    load: () => Promise.resolve({ bytes: 30, close: () => closed = true }),
  };
  await assertRejects(() => all.leases.lease(loader), InputError, "it takes 30 bytes, the limit is 20");
  assert(closed);
  (await taken(all, "a"))[Symbol.dispose]();
  assertEquals(all.leases.counts.held, ["a"]);
});

Deno.test("lease() loads one thing after another where memory is limited: what they take is not known before", async () => {
  const all = new Leases({ memory: 20 });
  const ask = (name: string) =>
    all.lease({
      ...{ name, key: name },
      size: "",
      estimate: 1,
      load: async () => {
        await settle();
        return { bytes: 15, close() {} };
      },
    });
  const names = ["a", "b", "c"];
  const most: number[] = [];
  await Promise.all(names.map(async (name) => {
    using _ = await ask(name);
    most.push(all.counts.bytes);
    await settle();
  }));
  assertEquals([most, all.counts.loads, all.counts.evictions], [[15, 15, 15], 3, 2]);
});

Deno.test("lease() tells a failed load to those who asked for it alone, and loads anew for the next", async () => {
  const all = store({ memory: 10 });
  const waiting = { a: all.take("a"), again: all.take("a"), b: all.take("b") };
  await settle();
  all.loading.get("a")!.fail(new Error("damaged"));
  await assertRejects(() => waiting.a, Error, "damaged");
  await assertRejects(() => waiting.again, Error, "damaged");
  await settle();
  all.loading.get("b")!.done();
  (await waiting.b)[Symbol.dispose]();
  (await taken(all, "a"))[Symbol.dispose]();
  assertEquals(all.leases.counts.loads, 3);
});

Deno.test("lease() lets who no longer wants to wait go, and what it loaded is no one's", async () => {
  const all = store({ memory: 10 });
  const a = await taken(all, "a");
  const ending = new AbortController();
  const b = all.take("b", ending.signal);
  const c = all.take("c");
  await settle();
  ending.abort(new Error("enough"));
  await assertRejects(() => b, Error, "enough");
  a[Symbol.dispose]();
  await settle();
  all.loading.get("c")!.done();
  (await c)[Symbol.dispose]();
  assertEquals([all.leases.counts.loads, all.freed], [2, ["a"]]);

  const late = new AbortController();
  const d = all.take("d", late.signal);
  await settle();
  late.abort(new Error("too late"));
  all.loading.get("d")!.done();
  await assertRejects(() => d, Error, "too late");
  (await taken(all, "e"))[Symbol.dispose](); // d was idle and made room
  assertEquals(all.freed, ["a", "c", "d"]);
});

Deno.test("freeIdle() frees what nobody has used for so long, and nothing that is in use or comes", async () => {
  const things = store({});
  const idle = await taken(things, "idle");
  const used = await taken(things, "used");
  things.take("coming").catch(() => {});
  await settle();
  idle[Symbol.dispose]();
  things.leases.freeIdle(60_000);
  assertEquals(things.freed, []);
  things.leases.freeIdle(0);
  assertEquals(things.freed, ["idle"]);
  assertEquals([things.leases.counts.evictions, things.leases.counts.held], [1, ["used", "coming"]]);
  used[Symbol.dispose]();
  things.leases.freeIdle(0);
  assertEquals(things.freed, ["idle", "used"]);
});

Deno.test("forget() has everything loaded anew; what is in use or comes is freed when its last user is done", async () => {
  const all = store({ models: 2 });
  const used = await taken(all, "a");
  const coming = all.take("b");
  await settle();
  const come = all.loading.get("b")!;
  const waiting = all.take("c");
  assertEquals(await granted({ waiting }), "");
  all.leases.forget();
  assertEquals(all.freed, []);
  const again = [await taken(all, "a"), await taken(all, "c")];
  assert(again[0].value !== used.value);
  assert(again[1].value === (await waiting).value);
  come.done();
  (await coming)[Symbol.dispose]();
  used[Symbol.dispose]();
  used[Symbol.dispose](); // once more changes nothing
  assertEquals(all.freed, ["b", "a"]);
  for (const lease of [...again, await waiting]) lease[Symbol.dispose]();
  assertEquals(all.leases.counts, { loads: 4, evictions: 0, bytes: 20, held: ["a", "c"] });
  all.leases.forget();
  assertEquals([all.freed, all.leases.counts.held], [["b", "a", "a", "c"], []]);
});

Deno.test("close() frees everything, what is being loaded too, and tells those who wait", async () => {
  const all = store({ memory: 20 });
  await taken(all, "used");
  const coming = all.take("coming");
  const waiting = all.take("waiting");
  await settle();
  all.leases.close();
  all.loading.get("coming")!.done();
  await assertRejects(() => coming, Error, "it was closed");
  await assertRejects(() => waiting, Error, "it was closed");
  await assertRejects(() => all.take("used"), Error, "it was closed");
  assertEquals([all.freed, all.leases.counts.bytes], [["used", "coming"], 0]);
  assertThrows(() => all.loading.get("waiting")!.done()); // it was never loaded
});

Deno.test("leaseAll() takes nothing before there is room for all, so that two who want two each never wait for each other", async () => {
  const all = store({ models: 2 });
  const a = await taken(all, "a");
  const [pair, other] = [all.takeAll(["b", "c"]), all.takeAll(["d", "a"])];
  assertEquals(await granted({ pair, other }), "");
  assertEquals(all.leases.counts.held, ["a"]); // b was not taken although there was room for it
  a[Symbol.dispose]();
  await settle();
  assertEquals(all.leases.counts.held, ["b", "c"]);
  for (const name of ["b", "c"]) all.loading.get(name)!.done();
  const first = await pair;
  assertEquals(first.value.map(({ name }) => name), ["b", "c"]);
  assertEquals(await granted({ other }), "");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await settle();
  for (const name of ["d", "a"]) all.loading.get(name)!.done();
  assertEquals((await other).value.map(({ name }) => name), ["d", "a"]);
  assertEquals([all.freed, all.leases.counts.loads], [["a", "b", "c"], 5]);
});

Deno.test("leaseAll() refuses what exceeds the budget together, before and after it is loaded, and gives back what came", async () => {
  const sizes: Record<string, number> = {};
  const all = store({ memory: 25 }, sizes);
  const text =
    /Cannot load the thing a and the thing b and the thing c as together they must fit memory: they take 30 bytes, the limit is 25; /;
  assertMatch((await assertRejects(() => all.takeAll(["a", "b", "c"]), InputError)).message, text);
  assertEquals(all.leases.counts.loads, 0);
  const pair = all.takeAll(["a", "b"]);
  await settle();
  Object.assign(sizes, { a: 15, b: 15 });
  for (const name of ["a", "b"]) all.loading.get(name)!.done();
  await assertRejects(() => pair, InputError, "they take 30 bytes, the limit is 25");
  (await taken(all, "d"))[Symbol.dispose]();
  assertEquals(all.leases.counts.held.includes("d"), true); // nobody has a or b any more

  const few = store({ models: 2 });
  await assertRejects(
    () => few.takeAll(["a", "b", "c"]),
    InputError,
    "they must fit the limit: it is 2 models at once",
  );
});
