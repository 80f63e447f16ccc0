import { assert, assertEquals } from "@std/assert";
import { listOwners, LOCKS, takeLock } from "../../../pipeline/graph/lock.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("takeLock() reports no owner while others only look who has the lock", () =>
  inFolder(async (run) => {
    const first = await takeLock(run, "scores/a", "score");
    assert("release" in first);
    first.release();
    await Deno.writeTextFile(`${run}/${LOCKS}/scores~a`, "");
    const look = await Deno.open(`${run}/${LOCKS}/scores~a`);
    assert(await look.tryLock(false)); // as listOwners() does
    setTimeout(() => look.close(), 50);
    const second = await takeLock(run, "scores/a", "score");
    assert("release" in second, JSON.stringify(second));
    assertEquals((await listOwners(run)).map(({ node, pid }) => [node, pid]), [
      ["scores/a", Deno.pid],
    ]);
    second.release();
    assertEquals(await listOwners(run), []);
  }));

Deno.test("takeLock() reports the owner at once where somebody has the lock alone", () =>
  inFolder(async (run) => {
    const lock = await takeLock(run, "scores/a", "score");
    assert("release" in lock);
    const start = performance.now();
    const other = await takeLock(run, "scores/a", "partition");
    assert(!("release" in other));
    assertEquals([other.task, other.pid], ["score", Deno.pid]);
    assert(performance.now() - start < 1_000);
    lock.release();
  }));
