import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type Budget, type Held, Leases } from "../../../pipeline/serving/leases.ts";

/** A store of things whose loads end when asked; sizes are 10 and slots are many unless said. */
function store(budget: Budget, sizes: Record<string, number> = {}, slots = Infinity) {
  const leases = new Leases(budget);
  const loading = new Map<string, { done(): void; fail(error: Error): void }>();
  const freed: string[] = [];
  const bytes = (name: string) => sizes[name] ?? 10;
  const loader = (name: string) => ({
    key: name,
    name: `the thing ${name}`,
    size: name,
    estimate: bytes(name),
    slots,
    load: () =>
      new Promise<Held & { name: string }>((resolve, reject) =>
        loading.set(name, {
          done: () => resolve({ name, bytes: bytes(name), close: () => freed.push(name) }),
          fail: reject,
        })
      ),
  });
  const takeAll = (names: string[], signal?: AbortSignal) =>
    leases.lease(names.map(loader), signal);
  return {
    leases,
    loading,
    freed,
    takeAll,
    take: (name: string, end?: AbortSignal) => takeAll([name], end),
  };
}

/** Lets everything happen that needs no one. */
const tick = () => new Promise((resolve) => setTimeout(resolve));

/** Leases things and ends their loads. */
async function taken({ takeAll, loading }: ReturnType<typeof store>, ...names: string[]) {
  const lease = takeAll(names);
  await tick();
  for (const name of names) loading.get(name)?.done();
  return await lease;
}

/** Reports, once all is quiet, which of some leases are granted. */
async function granted(leases: Record<string, Promise<unknown>>): Promise<string> {
  const names: string[] = [];
  for (const [name, lease] of Object.entries(leases)) lease.then(() => names.push(name), () => {});
  await tick();
  return names.join();
}

Deno.test("lease() loads a thing once for all who ask while it comes, and keeps it", async () => {
  const all = store({ memory: 20 });
  const [a, b] = [all.take("x"), all.take("x")];
  assertEquals(await granted({ a, b }), "");
  all.loading.get("x")!.done();
  assert((await a).value[0] === (await b).value[0]);
  for (const lease of [await a, await b, await taken(all, "x")]) lease[Symbol.dispose]();
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

Deno.test("lease() never evicts what is in use, evicts nothing in vain, and serves those who need room in the order of asking", async () => {
  const all = store({ memory: 30 }, { large: 25 });
  const a = await taken(all, "a");
  (await taken(all, "b"))[Symbol.dispose]();
  const large = all.take("large");
  const c = all.take("c"); // would fit earlier
  // Without b large would not fit either.
  assertEquals([await granted({ large, c }), all.freed.length], ["", 0]);
  a[Symbol.dispose]();
  a[Symbol.dispose](); // once more changes nothing
  await tick();
  assertEquals(all.freed, ["b", "a"]);
  all.loading.get("large")!.done();
  assertEquals(await granted({ large, c }), "large");
  (await large)[Symbol.dispose]();
  await tick();
  all.loading.get("c")!.done();
  assertEquals(await granted({ c }), "c");
});

Deno.test("lease() lets 256 users of a loaded model pass the one who waits for room", async () => {
  const all = store({ memory: 10 });
  const leases = [await taken(all, "a")];
  const b = all.take("b");
  await tick();
  for (let i = 0; i < 256; i++) leases.push(await all.take("a"));
  const late = all.take("a");
  assertEquals(await granted({ b, late }), "");
  for (const lease of leases) lease[Symbol.dispose]();
  await tick();
  all.loading.get("b")!.done();
  assertEquals(await granted({ b, late }), "b");
  (await b)[Symbol.dispose]();
  await tick();
  all.loading.get("a")!.done();
  await late;
  assertEquals(all.leases.counts.loads, 3);
});

Deno.test("lease() gives the slots of things in the order of asking, also to who wants those of several at once", async () => {
  const all = store({}, {}, 2);
  const leases = [await taken(all, "a", "b"), await taken(all, "a")]; // b has a slot left
  const ending = new AbortController();
  const left = all.take("a", ending.signal);
  const waiting = { both: all.takeAll(["b", "a"]), a: all.take("a"), b: all.take("b"), left };
  assertEquals(await granted(waiting), "");
  ending.abort(new Error("enough"));
  await assertRejects(() => left, Error, "enough");
  leases.pop()![Symbol.dispose]();
  assertEquals(await granted(waiting), "both");
  leases.pop()![Symbol.dispose]();
  assertEquals(await granted(waiting), "both,a,b");
});

Deno.test("lease() refuses what exceeds the budget, alone or together, with both numbers, before and after it is loaded", async () => {
  const sizes: Record<string, number> = { large: 26 };
  const all = store({ memory: 25 }, sizes);
  const refused = async (names: string[], text: RegExp) => {
    assertMatch((await assertRejects(() => all.takeAll(names), InputError)).message, text);
  };
  await refused(
    ["large"],
    /Cannot load the thing large as memory must suffice: 26 bytes are needed, the limit is 25; /,
  );
  await refused(
    ["a", "b", "c"],
    /thing a and .* thing c as memory must suffice: 30 bytes are needed/,
  );
  assertEquals(all.leases.counts.loads, 0);
  const pair = all.takeAll(["a", "b"]);
  await tick();
  Object.assign(sizes, { a: 15, b: 15 });
  for (const name of ["a", "b"]) all.loading.get(name)!.done();
  await assertRejects(() => pair, InputError, "30 bytes are needed, the limit is 25");
  (await taken(all, "d"))[Symbol.dispose]();
  // Nobody has a or b any more.
  assert(all.leases.counts.held.includes("d") && all.leases.counts.bytes <= 25);
  const few = store({ models: 2 });
  await assertRejects(
    () => few.takeAll(["a", "b", "c"]),
    InputError,
    "at most 2 models may be held",
  );
});

Deno.test("lease() loads one thing after another where memory is limited: what they take is not known before", async () => {
  const all = new Leases({ memory: 20 });
  const load = async () => {
    await tick();
    return { bytes: 15, close() {} };
  };
  const most: number[] = [];
  await Promise.all(["a", "b", "c"].map(async (name) => {
    using _ = await all.lease([{ name, key: name, size: "", estimate: 1, slots: 1, load }]);
    most.push(all.counts.bytes);
    await tick();
  }));
  assertEquals([most, all.counts.loads, all.counts.evictions], [[15, 15, 15], 3, 2]);
});

Deno.test("lease() tells a failed load to those who asked for it alone, and loads anew for the next", async () => {
  const all = store({ memory: 10 });
  const waiting = { a: all.take("a"), again: all.take("a"), b: all.take("b") };
  await tick();
  all.loading.get("a")!.fail(new Error("damaged"));
  await assertRejects(() => waiting.a, Error, "damaged");
  await assertRejects(() => waiting.again, Error, "damaged");
  await tick();
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
  await tick();
  ending.abort(new Error("enough"));
  await assertRejects(() => b, Error, "enough");
  a[Symbol.dispose]();
  await tick();
  all.loading.get("c")!.done();
  (await c)[Symbol.dispose]();
  assertEquals([all.leases.counts.loads, all.freed], [2, ["a"]]);
  const late = new AbortController();
  const d = all.take("d", late.signal);
  await tick();
  late.abort(new Error("too late"));
  all.loading.get("d")!.done();
  await assertRejects(() => d, Error, "too late");
  (await taken(all, "e"))[Symbol.dispose](); // d was idle and made room
  assertEquals(all.freed, ["a", "c", "d"]);
});

Deno.test("freeIdle() frees what nobody has used for so long, and nothing that is in use or comes", async () => {
  const all = store({});
  const [idle, used] = [await taken(all, "idle"), await taken(all, "used")];
  all.take("coming").catch(() => {});
  await tick();
  idle[Symbol.dispose]();
  all.leases.freeIdle(60_000);
  assertEquals(all.freed, []);
  all.leases.freeIdle(0);
  assertEquals([all.freed, all.leases.counts.held], [["idle"], ["used", "coming"]]);
  used[Symbol.dispose]();
  all.leases.freeIdle(0);
  assertEquals([all.freed, all.leases.counts.evictions], [["idle", "used"], 2]);
});

Deno.test("clear() frees everything, what is in use or comes too, tells those who wait, and loads anew for the next", async () => {
  const all = store({ memory: 20 });
  const used = await taken(all, "used");
  const [coming, waiting] = [all.take("coming"), all.take("waiting")];
  await tick();
  all.leases.clear(new Error("it was closed"));
  all.loading.get("coming")!.done();
  await assertRejects(() => coming, Error, "it was closed");
  await assertRejects(() => waiting, Error, "it was closed");
  assertEquals([all.freed, all.leases.counts.bytes], [["used", "coming"], 0]);
  const again = await taken(all, "used");
  assert(again.value[0] !== used.value[0]);
  used[Symbol.dispose]();
  again[Symbol.dispose]();
  assertEquals(all.leases.counts, { loads: 3, evictions: 0, bytes: 10, held: ["used"] });
});

Deno.test("lease() takes nothing before there is room for all, so that two who want two each never wait for each other", async () => {
  const all = store({ models: 2 });
  const a = await taken(all, "a");
  const [pair, other] = [all.takeAll(["b", "c"]), all.takeAll(["d", "a"])];
  assertEquals(await granted({ pair, other }), "");
  assertEquals(all.leases.counts.held, ["a"]); // b was not taken although there was room for it
  a[Symbol.dispose]();
  await tick();
  assertEquals(all.leases.counts.held, ["b", "c"]);
  for (const name of ["b", "c"]) all.loading.get(name)!.done();
  const first = await pair;
  assertEquals(first.value.map(({ name }) => name), ["b", "c"]);
  assertEquals(await granted({ other }), "");
  first[Symbol.dispose]();
  await tick();
  for (const name of ["d", "a"]) all.loading.get(name)!.done();
  assertEquals((await other).value.map(({ name }) => name), ["d", "a"]);
  assertEquals([all.freed, all.leases.counts.loads], [["a", "b", "c"], 5]);
});
