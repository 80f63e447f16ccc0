import { assertEquals, assertRejects } from "@std/assert";
import { makeShared, type SharedPiece } from "../../../../pipeline/reproduction/studies/shared.ts";
import { lockRun } from "../../../../pipeline/run/lock.ts";
import type { Work } from "../../../../pipeline/stages/stage.ts";
import { inFolder } from "../../../tasks/support.ts";

/** Holds things of a folder, and notes what is made and whom it waits for. */
function sharing(folder: string) {
  const made: string[] = [];
  const waited: string[] = [];
  const lock: Work["lock"] = (name, more) => lockRun(folder, name, "reproduce", more);
  const piece = (name: string, holds: readonly string[], after: readonly string[] = []): SharedPiece => ({
    ...{ name, after, holds },
    make: () => Promise.resolve(void made.push(name)),
  });
  const onWait = ({ message }: Error) => void waited.push(message);
  return { made, waited, lock, piece, onWait };
}

Deno.test("makeShared() makes the first piece first that follows on nothing open, and takes up what a piece brings", () =>
  inFolder(async (folder) => {
    const { made, piece, lock, onWait } = sharing(folder);
    const listed = () =>
      Promise.resolve([
        piece("late", [], ["a 1", "a 2"]),
        ...[piece("search", ["rate"])].filter(() => !made.includes("search")),
        piece("a 1", ["a"]),
        piece("a 2", ["a"], ["a 1"]),
        ...made.includes("search") ? [piece("b 1", ["b", "rate"])] : [],
      ]);
    await makeShared(listed, { lock, onWait });
    assertEquals(made, ["search", "a 1", "a 2", "late", "b 1"]);
    assertEquals([...Deno.readDirSync(folder)], []); // no hold is left
  }));

Deno.test("makeShared() goes on with what is free, waits for the rest, and says once for whom", () =>
  inFolder(async (folder) => {
    const { made, waited, piece, lock, onWait } = sharing(folder);
    const release = await lockRun(folder, "a", "reproduce");
    const listed = () =>
      Promise.resolve([
        piece("a 1", ["a"]),
        piece("a 2", ["d"], ["a 1"]),
        piece("b 1", ["b", "a"]),
        piece("c 1", ["c"]),
      ]);
    const working = makeShared(listed, { lock, onWait });
    await new Promise((done) => setTimeout(done, 1500));
    assertEquals(made, ["c 1"]);
    assertEquals(waited.length, 1);
    assertEquals(waited[0].includes(`process ${Deno.pid}`), true, waited[0]);
    await release();
    await working;
    assertEquals(made, ["c 1", "a 1", "a 2", "b 1"]);
  }));

Deno.test("makeShared() tries a piece again that found something held as it was made, and goes on with others meanwhile", () =>
  inFolder(async (folder) => {
    const { made, waited, piece, lock, onWait } = sharing(folder);
    const release = await lockRun(folder, "model", "train-dense");
    const trained = {
      ...piece("a 1", ["a"]),
      make: async () => {
        await (await lock("model"))();
        made.push("a 1");
      },
    };
    const working = makeShared(() => Promise.resolve([trained, piece("b 1", ["b"])]), { lock, onWait });
    await new Promise((done) => setTimeout(done, 1200));
    assertEquals([made, waited.length], [["b 1"], 1]);
    await release();
    await working;
    assertEquals(made, ["b 1", "a 1"]);
  }));

Deno.test("makeShared() releases what it held where a piece fails, and ends its waiting with the signal's reason", () =>
  inFolder(async (folder) => {
    const { piece, lock, onWait } = sharing(folder);
    const failing = { ...piece("a 1", ["a", "b"]), make: () => Promise.reject(new RangeError("no")) };
    await assertRejects(
      () => makeShared(() => Promise.resolve([failing]), { lock, onWait }),
      RangeError,
      "no",
    );
    const release = await lockRun(folder, "b", "reproduce");
    const controller = new AbortController();
    const working = makeShared(() => Promise.resolve([piece("a 1", ["a", "b"])]), {
      lock,
      onWait: () => controller.abort(new DOMException("interrupted", "AbortError")),
      signal: controller.signal,
    });
    await assertRejects(() => working, DOMException, "interrupted");
    await (await lockRun(folder, "a", "reproduce"))(); // free again
    await release();
  }));
