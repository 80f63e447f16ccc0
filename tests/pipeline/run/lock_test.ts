import { assert, assertEquals, assertFalse, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { makeFolder } from "../../../pipeline/run/claims.ts";
import { exists } from "../../../pipeline/run/files.ts";
import {
  firstLiving,
  heldIn,
  isHeld,
  lockRun,
  removeDeadLocks,
  watchHeld,
} from "../../../pipeline/run/lock.ts";
import { holder, kill } from "./holder.ts";

async function withRun(test: (run: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(`${folder}/run`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes the file of a hold as a process of another machine does, whose clock is `minutes` off: whole at any moment. */
async function elsewhere(path: string, beat: number, minutes: number): Promise<void> {
  const folder = path.slice(0, path.lastIndexOf("/"));
  await Deno.mkdir(folder, { recursive: true });
  const since = new Date(Date.now() + 60_000 * minutes).toISOString();
  const claim = { pid: 17, host: "far", since, task: "afar", id: "0123", machine: "far/99", beat };
  const written = `${folder}/../../beat.json`;
  await Deno.writeTextFile(written, JSON.stringify(claim) + "\n");
  const time = new Date(Date.now() + 60_000 * minutes);
  await Deno.utime(written, time, time);
  await Deno.rename(written, path);
}

/** Keeps the hold of another machine alive; what is returned ends that, once the last beat is written. */
function alive(path: string, minutes: number): () => Promise<void> {
  let isAlive = true;
  const beating = (async () => {
    for (let beat = 1; isAlive; beat++) {
      await elsewhere(path, beat, minutes);
      await new Promise((done) => setTimeout(done, 100));
    }
  })();
  return async () => {
    isAlive = false;
    await beating;
  };
}

Deno.test("lockRun() refuses a second process and says who makes it", () =>
  withRun(async (run) => {
    const child = await holder(run, "score");
    try {
      const error = await assertRejects(
        () => lockRun(run, "score", "partition"),
        RunError,
        `process ${child.pid}`,
      );
      assertStringIncludes(error.message, 'for task "other"');
      assertStringIncludes(error.message, "has held it since 20");
      await (await lockRun(run, "split", "partition"))(); // other things are made beside it
    } finally {
      await kill(child);
    }
  }));

Deno.test("lockRun() takes what a killed process held at once, and leaves nothing at release", () =>
  withRun(async (run) => {
    await kill(await holder(run, "score"));
    const path = `${run}/locks/score.json`;
    assert(await exists(path));
    const release = await lockRun(run, "score", "partition");
    assertEquals(JSON.parse(await Deno.readTextFile(path)).pid, Deno.pid);
    await release();
    await release();
    assertFalse(await exists(`${run}/locks`));
  }));

Deno.test("lockRun() breaks no hold of another machine that lives, wherever its clock is, and takes that of a dead one", () =>
  withRun(async (run) => {
    const path = `${run}/locks/score.json`;
    const lease = 400;
    for (const minutes of [-7, 60 * 24]) {
      await elsewhere(path, 0, minutes);
      const silence = alive(path, minutes);
      const waited: number[] = [];
      const options = { lease, patience: 1200, onWait: ({ pid }: { pid: number }) => waited.push(pid) };
      const error = await assertRejects(() => lockRun(run, "score", "mine", options), RunError);
      assertStringIncludes(error.message, "process 17 on far has held it since");
      assertEquals(waited, [17]);
      assert(await isHeld(run, "score"));
      await silence();
      const start = performance.now();
      const release = await lockRun(run, "score", "mine", { lease });
      assert(performance.now() - start >= lease, "it was silent for less than the lease");
      await release();
      assertFalse(await exists(`${run}/locks`));
    }
  }));

Deno.test("of two machines that find a hold dead at once one gets it", () =>
  withRun(async (run) => {
    await elsewhere(`${run}/locks/score.json`, 0, 0);
    const take = () => lockRun(run, "score", "mine", { lease: 300 }).catch((error) => error as Error);
    const both = await Promise.all([take(), take(), take()]);
    const held = both.filter((hold) => typeof hold === "function");
    assertEquals([held.length, both.filter((error) => error instanceof RunError).length], [1, 2]);
    await held[0]();
  }));

Deno.test("who reads excludes who makes, and parts exclude neither each other nor does a reader a reader", () =>
  withRun(async (run) => {
    const modes = ["alone", "part", "read"] as const;
    const together = new Set(["part part", "read read"]);
    for (const first of modes) {
      const child = await holder(run, "score", { mode: first });
      for (const second of modes) {
        const taking = lockRun(run, "score", "mine", { mode: second });
        if (together.has(`${first} ${second}`)) await (await taking)();
        else await assertRejects(() => taking, RunError, `process ${child.pid}`);
      }
      await kill(child);
      await (await lockRun(run, "score", "mine"))(); // a dead one's does not count
      assertFalse(await exists(`${run}/locks`));
    }
  }));

Deno.test("lockRun() never lets two hold the same, however many try at once", () =>
  withRun(async (run) => {
    let [inside, most, times] = [0, 0, 0];
    await Promise.all(Array.from({ length: 12 }, async () => {
      for (let i = 0; i < 5; i++) {
        const release = await lockRun(run, "score", "mine", { patience: Infinity });
        most = Math.max(most, ++inside);
        await new Promise((done) => setTimeout(done, 1));
        inside--;
        times++;
        await release();
      }
    }));
    assertEquals([most, times], [1, 60]);
  }));

Deno.test("makeFolder() makes the folder of holds while it is removed again and again, and refuses a file there", () =>
  withRun(async (run) => {
    const folder = `${run}/locks`;
    for (let i = 0; i < 3000; i++) {
      await Promise.all([makeFolder(run), makeFolder(run), Deno.remove(folder).catch(() => {})]);
    }
    await Deno.remove(folder).catch(() => {});
    await Deno.writeTextFile(folder, "");
    await assertRejects(() => makeFolder(run), Deno.errors.AlreadyExists);
    await Deno.remove(folder);
  }));

Deno.test("heldIn() names what is held, how and by whom, and nothing of a process that was killed", () =>
  withRun(async (run) => {
    const held = async () => (await heldIn(run)).map(({ name, mode, owner }) => [name, mode, owner.pid]);
    assertEquals(await held(), []);
    const first = await lockRun(run, "tokenize", "mine");
    const child = await holder(run, "score", { mode: "part" });
    assertEquals(await held(), [["tokenize", "alone", Deno.pid], ["score", "part", child.pid]]);
    assert(await isHeld(run, "score"));
    await kill(child);
    assertEquals(await held(), [["tokenize", "alone", Deno.pid]]);
    assertFalse(await isHeld(run, "score"));
    const reading = await lockRun(run, "score", "mine", { mode: "read" });
    assertFalse(await isHeld(run, "score"));
    await reading();
    await first();
    await removeDeadLocks(run);
    assertFalse(await exists(`${run}/locks`));
  }));

Deno.test("watchHeld() and firstLiving() count a hold of another machine only as long as its text changes", () =>
  withRun(async (run) => {
    const path = `${run}/locks/score.json`;
    const lease = 400;
    const isScore = (name: string) => name === "score";
    const watch = watchHeld(run, isScore, lease);
    assertEquals([await watch(), await firstLiving(run, isScore, { lease })], [undefined, undefined]);
    const release = await lockRun(run, "score", "mine"); // a hold of this machine needs no words
    const start = performance.now();
    while (performance.now() - start < 2 * lease) {
      assertEquals((await watch())?.owner.pid, Deno.pid);
      await new Promise((done) => setTimeout(done, 100));
    }
    assertEquals((await firstLiving(run, isScore, { lease }))?.owner.pid, Deno.pid);
    await release();
    await elsewhere(path, 0, 0);
    const silence = alive(path, 0);
    for (let i = 0; i < 12; i++) {
      assertEquals((await watch())?.owner.pid, 17);
      await new Promise((done) => setTimeout(done, 100));
    }
    const waited: string[] = [];
    const wait = ({ host }: { host: string }) => waited.push(host);
    assertEquals((await firstLiving(run, isScore, { lease, wait }))?.owner.pid, 17);
    await silence();
    assertEquals((await watch())?.owner.pid, 17); // it may live
    await new Promise((done) => setTimeout(done, lease));
    assertEquals([await watch(), await isHeld(run, "score")], [undefined, true]);
    assertEquals(await firstLiving(run, isScore, { lease, wait }), undefined);
    assertEquals(new Set(waited), new Set(["far"]));
  }));

Deno.test("a process that is killed as it takes a hold leaves none, and what it left goes", () =>
  withRun(async (run) => {
    await Deno.mkdir(`${run}/locks`, { recursive: true });
    await Deno.writeTextFile(`${run}/locks/score.json.0123.new`, ""); // killed before it had written a word
    assertEquals([await isHeld(run, "score"), await heldIn(run)], [false, []]);
    const release = await lockRun(run, "score", "mine");
    assertEquals((await Array.fromAsync(Deno.readDir(`${run}/locks`))).length, 2); // no other name of its own is left
    await release();
    await removeDeadLocks(run);
    assertFalse(await exists(`${run}/locks`));
  }));

Deno.test("a hold says what its holder makes, until it is released", () =>
  withRun(async (run) => {
    const hold = await lockRun(run, "run", "partition", { mode: "read" });
    const stage = async () => (await heldIn(run))[0].owner.stage;
    assertEquals(await stage(), undefined);
    hold.makes("train-routers");
    const first = (await stage())!;
    assertEquals([first.name, first.since], ["train-routers", new Date(first.since).toISOString()]);
    hold.makes("score");
    assertEquals((await stage())?.name, "score");
    hold.makes();
    assertEquals(await stage(), undefined);
    await hold();
    assertEquals(await heldIn(run), []);
  }));

Deno.test("lockRun() refuses a file, and a folder under one", () =>
  withRun(async (run) => {
    await Deno.writeTextFile(run, "");
    const remedy = "is a file; choose another run";
    const lock = (run: string) => lockRun(run, "score", "partition");
    await assertRejects(() => lock(run), InputError, `it must be a folder: it ${remedy}`);
    await assertRejects(() => lock(`${run}/a/b`), InputError, `"${run}" ${remedy}`);
  }));

Deno.test("a hold without a claim, as a power failure leaves one, is that of a dead process once it is old", () =>
  withRun(async (run) => {
    const path = `${run}/locks/score.json`;
    for (const text of ["", "\0".repeat(513)]) {
      await Deno.mkdir(`${run}/locks`, { recursive: true });
      await Deno.writeTextFile(path, text);
      assert(await isHeld(run, "score")); // it may be just being written
      const before = new Date(Date.now() - 5_000);
      await Deno.utime(path, before, before);
      assertFalse(await isHeld(run, "score"));
      const start = performance.now();
      await (await lockRun(run, "score", "mine"))();
      assert(performance.now() - start < 30_000);
    }
    await Deno.mkdir(`${run}/locks`);
    await Deno.writeTextFile(path, "");
    await Deno.utime(path, 0, 0);
    await removeDeadLocks(run);
    assertFalse(await exists(`${run}/locks`));
  }));
