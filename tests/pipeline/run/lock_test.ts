import { assert, assertEquals, assertFalse, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { exists } from "../../../pipeline/run/files.ts";
import { holdersOf, isHeld, lockRun } from "../../../pipeline/run/lock.ts";

async function withRun(test: (run: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(`${folder}/run`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Starts a process that takes the lock, says so and waits. */
async function holder(run: string, options = {}): Promise<Deno.ChildProcess> {
  const module = new URL("../../../pipeline/run/lock.ts", import.meta.url);
  const code = `import { lockRun } from "${module}";
    await lockRun(${JSON.stringify(run)}, "other", ${JSON.stringify(options)});
    console.log("held");
    setTimeout(() => {}, 60_000);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", "--ext=ts", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const reader = child.stdout.getReader();
  assertStringIncludes(new TextDecoder().decode((await reader.read()).value), "held");
  await reader.cancel();
  return child;
}

Deno.test("lockRun() refuses a second process and says who holds the run", () =>
  withRun(async (run) => {
    const child = await holder(run);
    try {
      const error = await assertRejects(() => lockRun(run, "partition"), Error, `process ${child.pid}`);
      assertStringIncludes(error.message, 'for task "other"');
      assertStringIncludes(error.message, "has held it since 20");
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
  }));

Deno.test("lockRun() takes a run whose owner was killed, and removes its file at release", () =>
  withRun(async (run) => {
    const child = await holder(run);
    child.kill("SIGKILL");
    await child.status;
    assert(await exists(`${run}/lock.json`));
    const release = await lockRun(run, "partition");
    assertEquals(JSON.parse(await Deno.readTextFile(`${run}/lock.json`)).pid, Deno.pid);
    await release();
    await release();
    assertFalse(await exists(`${run}/lock.json`));
  }));

Deno.test("isHeld() says whether a process holds the lock, be its file there or not", () =>
  withRun(async (run) => {
    assertFalse(await isHeld(run));
    const child = await holder(run);
    assert(await isHeld(run));
    child.kill("SIGKILL");
    await child.status;
    assert(await exists(`${run}/lock.json`));
    assertEquals(new Set(await Promise.all(Array.from({ length: 50 }, () => isHeld(run)))), new Set([false]));
    const release = await lockRun(run, "partition");
    assert(await isHeld(run));
    await release();
  }));

Deno.test("lockRun() lets shared holders work side by side, and no exclusive one beside them", () =>
  withRun(async (run) => {
    const first = await lockRun(run, "score", { shared: true });
    const second = await lockRun(run, "score", { shared: true });
    await assertRejects(() => lockRun(run, "partition"), Error, 'for task "score"');
    await first();
    await assertRejects(() => lockRun(run, "partition"), Error, "one process at a time");
    await second();
    const exclusive = await lockRun(run, "partition");
    await assertRejects(() => lockRun(run, "score", { shared: true }), Error, 'for task "partition"');
    await exclusive();
  }));

Deno.test("holdersOf() names all that share a lock, and neither one that has left nor one that was killed", () =>
  withRun(async (run) => {
    const tasks = async () => (await holdersOf(run)).map(({ pid, task }) => [pid, task]);
    assertEquals(await tasks(), []);
    const first = await lockRun(run, "first", { shared: true });
    const child = await holder(run, { shared: true });
    assertEquals(await tasks(), [[Deno.pid, "first"], [child.pid, "other"]]);
    const both = await assertRejects(() => lockRun(run, "partition"), Error, `process ${Deno.pid}`);
    assertStringIncludes(both.message, `process ${child.pid}`);
    child.kill("SIGKILL");
    await child.status;
    assertEquals(await tasks(), [[Deno.pid, "first"]]);
    const second = await lockRun(run, "second", { shared: true });
    await second();
    const error = await assertRejects(() => lockRun(run, "partition"), Error, 'for task "first"');
    assertFalse(/"other"|"second"/.test(error.message), error.message);
    await first();
    assertEquals(await Array.fromAsync(Deno.readDir(run)), []);
    const alone = await lockRun(run, "partition");
    assertEquals(await tasks(), [[Deno.pid, "partition"]]);
    await alone();
  }));

Deno.test("a hold says what its holder makes, alone or shared, until it is released", () =>
  withRun(async (run) => {
    for (const shared of [false, true]) {
      const hold = await lockRun(run, "partition", { shared });
      const stage = async () => (await holdersOf(run))[0].stage;
      assertEquals(await stage(), undefined);
      hold.makes("train-routers");
      const first = (await stage())!;
      assertEquals([first.name, first.since], ["train-routers", new Date(first.since).toISOString()]);
      hold.makes("score");
      assertEquals((await stage())?.name, "score");
      hold.makes();
      assertEquals(await stage(), undefined);
      await hold();
      hold.makes("score");
      assertEquals(await holdersOf(run), []);
    }
  }));

Deno.test("lockRun() refuses a file, and a folder under one", () =>
  withRun(async (run) => {
    await Deno.writeTextFile(run, "");
    const remedy = "is a file; choose another run";
    await assertRejects(() => lockRun(run, "partition"), InputError, `it must be a folder: it ${remedy}`);
    await assertRejects(() => lockRun(`${run}/a/b`, "partition"), InputError, `"${run}" ${remedy}`);
  }));
