import { dirname } from "node:path";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  listOwners,
  makeAll,
  type MakeOptions,
  type Maker,
  type Node,
  takeLock,
  Walk,
} from "../../../pipeline/graph/mod.ts";
import { publish, tidyPartials, writePages } from "../../../pipeline/graph/folder.ts";
import { noteFiles, writeManifest } from "../../../pipeline/graph/node.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { made, toyGraph, toyHash, toyWork } from "./toy.ts";

const TOY = new URL("./toy.ts", import.meta.url).pathname;

/** Makes what is missing, and lists what was made, stage by stage. */
async function makeToys(
  run: string,
  graph = toyGraph(),
  { check, ...options }: Partial<MakeOptions> & { check?: boolean } = {},
): Promise<string[]> {
  made.length = 0;
  await makeAll(toyWork(run), new Walk(run, graph, { check }), { task: "test", ...options });
  return made.splice(0);
}

/** Kills a process, unless it has just ended by itself. */
function endNow(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/**
 * Runs processes side by side, each killed again and again for a while, until each ends by itself.
 */
async function runKilled(
  run: string,
  parts: number,
  kills: number,
  more: string[] = [],
): Promise<void> {
  let left = kills;
  await Promise.all(Array.from({ length: parts }, async (_, i) => {
    for (;;) {
      const args = [
        "run",
        "-A",
        "--no-lock",
        "--cached-only",
        TOY,
        run,
        `${i + 1}`,
        `${parts}`,
        ...more,
      ];
      const child = new Deno.Command(Deno.execPath(), { args, stderr: "piped" }).spawn();
      const timer = left-- > 0
        ? setTimeout(() => endNow(child), 300 + Math.random() * 700)
        : undefined;
      const { success, signal, stderr } = await child.output();
      clearTimeout(timer);
      if (success) return;
      assertEquals(signal, "SIGKILL", new TextDecoder().decode(stderr));
    }
  }));
}

let alone: Promise<string> | undefined;
const hashAlone = () =>
  alone ??= (async () => {
    let hash = "";
    await inFolder(async (run) => {
      await makeToys(run);
      hash = await toyHash(run);
    });
    return hash;
  })();

Deno.test("two processes that are killed again and again give the bytes of one", () =>
  inFolder(async (run) => {
    await runKilled(run, 2, 12);
    assertEquals(await toyHash(run), await hashAlone());
    assertEquals(await listOwners(run), []);
  }));

Deno.test("locks only save work: two processes without any give the bytes of one", () =>
  inFolder(async (run) => {
    await runKilled(run, 2, 6, ["no-locks"]);
    assertEquals(await toyHash(run), await hashAlone());
  }));

Deno.test("a part alone makes what others do not, and waits for nobody", () =>
  inFolder(async (run) => {
    await runKilled(run, 1, 0);
    await makeToys(`${run}/part`, toyGraph(), { mine: ({ name }) => name.endsWith("01") });
    assertEquals(await toyHash(`${run}/part`), await hashAlone());
  }));

Deno.test("what is made is not made again, though spent rounds are gone", () =>
  inFolder(async (run) => {
    const spent = `${run}/rounds/00/router-00/state.json`;
    await makeToys(run);
    await assertRejects(() => Deno.stat(spent), Deno.errors.NotFound);
    await Deno.writeTextFile(spent, ""); // as if a kill had left it: the node is not whole
    assertEquals(await makeToys(run), []);
    await assertRejects(() => Deno.stat(spent), Deno.errors.NotFound);
  }));

Deno.test("what another process makes while its needs are looked at is not missing, though these are spent then", () =>
  inFolder(async (run) => {
    const [whole, open] = [`${run}/whole`, `${run}/open`];
    await makeToys(whole);
    const graph = toyGraph();
    const user = graph.find(({ name }) => name === "rounds/04/router-00")!;
    const { needs } = user;
    Object.defineProperty(user, "needs", {
      get() {
        copyFolder(whole, open);
        return needs;
      },
    });
    assertEquals((await new Walk(open, graph).of(user)).state, "made");
  }));

Deno.test("checkpoints of a node that is made go, unless a process makes it again; so do spent rounds", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const [spent, read] = [0, 3].map((round) => `${run}/rounds/0${round}/router-00/state.json`);
    const key = JSON.parse(await Deno.readTextFile(`${run}/experts/00/manifest.json`)).key.slice(
      0,
      16,
    );
    const place = (key: string) => `${run}/scratch/experts~00~${key}/checkpoint.json`;
    const left = [spent, read, place(key), place("0123456789abcdef")];
    const isThere = () =>
      Promise.all(left.map((path) => Deno.stat(path).then(() => true, () => false)));
    for (const path of left) { // as if it had been killed before it removed them
      await Deno.mkdir(dirname(path), { recursive: true });
      await Deno.writeTextFile(path, "");
      await Deno.utime(path, 0, 0); // before the node came to be
    }
    const locks = await Promise.all(
      ["experts/00", "rounds/04/router-01"].map((name) => takeLock(run, name, "other")),
    );
    assertEquals([await makeToys(run), await isThere()], [[], [false, true, true, true]]);
    for (const lock of locks) if ("release" in lock) lock.release();
    assertEquals([await makeToys(run), await isThere()], [[], [false, false, false, true]]);
    // What a training that makes the node anew has saved stays: it goes on from there.
    await Deno.mkdir(dirname(left[2]));
    await Deno.writeTextFile(left[2], "");
    assertEquals([await makeToys(run), await isThere()], [[], [false, false, true, true]]);
  }));

/** Changes the settings of some nodes. */
const withSettings = (wanted: (name: string) => boolean, settings: Record<string, unknown>) =>
  toyGraph((node): Node =>
    wanted(node.name) ? { ...node, settings: { ...node.settings, ...settings } } : node
  );

Deno.test("a change that leaves bytes as they were stops there", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const graph = withSettings((name) => name === "tokens/03", { comment: "the same bytes" });
    assertEquals(await makeToys(run, graph), ["tokens/03"]);
  }));

Deno.test("a change of files that nobody reads stops there", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const graph = withSettings((name) => name === "tokens/03", { test: 99 });
    assertEquals(await makeToys(run, graph), ["tokens/03"]);
  }));

Deno.test("a change that a late node reads brings spent nodes back", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const again = await makeToys(
      run,
      withSettings((name) => name === "rounds/04/router-00", { r: 4, more: 1 }),
    );
    // Round 4 reads round 3, which is spent and reads round 2, and so on. What they come to is as
    // it was, so nothing follows.
    assertEquals(again.filter((name) => !name.startsWith("rounds/")), []);
    assert(again.includes("rounds/00/router-01") && again.includes("rounds/04/router-00"));
    assert(!again.includes("rounds/04/router-01"));
    assertEquals(
      await makeToys(
        run,
        withSettings((name) => name === "rounds/04/router-00", { r: 4, more: 1 }),
      ),
      [],
    );
  }));

Deno.test("a missing, cut or changed file is found and made again, and nothing else", () =>
  inFolder(async (run) => {
    await makeToys(run);
    await Deno.remove(`${run}/parts/01/rows.json`);
    assertEquals(await makeToys(run), ["parts/01"]);
    await Deno.truncate(`${run}/parts/02/rows.json`, 3);
    assertEquals(await makeToys(run), ["parts/02"]);
    const bytes = await Deno.readFile(`${run}/parts/00/rows.json`);
    bytes[2] ^= 1;
    await Deno.writeFile(`${run}/parts/00/rows.json`, bytes);
    assertEquals(await makeToys(run), []);
    assertEquals(await makeToys(run, toyGraph(), { check: true }), ["parts/00"]);
    assertEquals(await toyHash(run), await hashAlone());
  }));

Deno.test("a damaged manifest is an error that names it, and removes nothing", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const path = `${run}/tokens/04/manifest.json`;
    const text = await Deno.readTextFile(path);
    for (const damaged of [text.replace('"revision": 1', '"revision": 2'), text.slice(0, 40), ""]) {
      await Deno.writeTextFile(path, damaged);
      const error = await assertRejects(() => makeToys(run), InputError);
      assertEquals(error.where, path);
      assertEquals(await Deno.readTextFile(path), damaged);
    }
  }));

Deno.test("nodes of another run with the same keys are linked, not made", () =>
  inFolder(async (run) => {
    await makeToys(run);
    await inFolder(async (other) => {
      const events: { type: string; stage: string; state?: string }[] = [];
      const graph = withSettings((name) => name === "experts/02", { steps: 21 });
      made.length = 0;
      await makeAll(toyWork(other, events), new Walk(other, graph), { task: "test", reuse: [run] });
      assertEquals(made, ["experts/02"]); // nor are the rounds that are spent there
      const [one, same] = [
        await Deno.stat(`${run}/parts/00/rows.json`),
        await Deno.stat(`${other}/parts/00/rows.json`),
      ];
      assertEquals(one.ino, same.ino);
      assertEquals(events.filter(({ stage }) => stage === "split").map(({ state }) => state), [
        "copied",
      ]);
    });
  }));

Deno.test("nodes that are given are taken as they are, without what they need", () =>
  inFolder(async (run) => {
    await makeToys(run);
    for (const gone of ["tokens", "rounds", "experts"]) {
      await Deno.remove(`${run}/${gone}`, { recursive: true });
    }
    const graph = toyGraph((node) => ({ ...node, given: node.name.startsWith("parts/") }));
    const wanted = ({ name }: Node) => name === "experts/01";
    assertEquals(await makeToys(run, graph, { wanted }), ["experts/01"]);
    await Deno.remove(`${run}/parts/01`, { recursive: true });
    await Deno.remove(`${run}/experts/01`, { recursive: true });
    const error = await assertRejects(() => makeToys(run, graph, { wanted }), InputError);
    assertEquals(error.where, `${run}/parts/01`);
  }));

Deno.test("a plan is the walk that makes: what it says is missing is what is made", () =>
  inFolder(async (run) => {
    const planned = async (graph: Node[]) => {
      const walk = new Walk(run, graph);
      const states = await Promise.all(graph.map((node) => walk.of(node)));
      return states.filter(({ state }) => state !== "made" && state !== "spent").map(({ node }) =>
        node.name
      );
    };
    assertEquals((await planned(toyGraph())).toSorted(), (await makeToys(run)).toSorted());
    const graph = withSettings((name) => name === "parts/01", { e: 2 });
    assertEquals(await planned(graph), ["parts/01", "experts/01"]);
    assertEquals(await makeToys(run, graph), ["parts/01", "experts/01"]);
  }));

Deno.test("a maker that throws leaves the run as it was, without locks", () =>
  inFolder(async (run) => {
    const graph = toyGraph((node) =>
      node.maker.stage !== "split"
        ? node
        : { ...node, maker: { stage: "split", make: () => Promise.reject(new Error("it broke")) } }
    );
    await assertRejects(() => makeToys(run, graph), Error, "it broke");
    await assertRejects(() => Deno.stat(`${run}/parts`), Deno.errors.NotFound);
    assertEquals([...Deno.readDirSync(`${run}/partial`)], []);
    assertEquals(await listOwners(run), []);
    await makeToys(run);
    assertEquals(await toyHash(run), await hashAlone());
  }));

Deno.test("a maker is closed before another one begins, and in the end", () =>
  inFolder(async (run) => {
    const log: string[] = [];
    const watched = new Map<Maker, Maker>();
    const watch = (maker: Maker): Maker => ({
      ...maker,
      make: (...all) => maker.make(...all).finally(() => log.push(maker.stage)),
      close: () => log.push(`close ${maker.stage}`),
    });
    const own = ({ maker }: Node) => watched.getOrInsertComputed(maker, watch);
    await makeToys(run, toyGraph((node) => ({ ...node, maker: own(node) })));
    const stages = [...new Set(log.filter((line) => !line.startsWith("close")))];
    const inTurn = log.filter((line, i) => line !== log[i - 1]);
    assertEquals(inTurn, stages.flatMap((stage) => [stage, `close ${stage}`]));
  }));

Deno.test("files of others stay, and a link in a node's place is refused", () =>
  inFolder(async (run) => {
    await Deno.mkdir(`${run}/parts`);
    await Deno.writeTextFile(`${run}/parts/notes.txt`, "mine");
    await Deno.mkdir(`${run}/elsewhere`);
    await Deno.symlink("elsewhere", `${run}/experts`);
    await assertRejects(() => makeToys(run), InputError, "symbolic link");
    await Deno.remove(`${run}/experts`);
    await Deno.mkdir(`${run}/partial/mine`, { recursive: true });
    await Deno.writeTextFile(`${run}/partial/mine/notes.txt`, "mine");
    for (const place of ["partial/mine", "partial/mine/notes.txt"]) {
      await Deno.utime(`${run}/${place}`, 0, 0);
    }
    await makeToys(run);
    for (const folder of ["parts", "partial/mine"]) {
      assertEquals(await Deno.readTextFile(`${run}/${folder}/notes.txt`), "mine");
    }
  }));

Deno.test("a node that was moved aside when its process was killed comes back, and the user's files with it", () =>
  inFolder(async (run) => {
    await makeToys(run);
    const place = `${run}/parts/00`;
    const old = () => `${run}/partial/parts~00~old-${crypto.randomUUID()}`;
    const notes = `${place}/notes/a.txt`;
    const aside = () =>
      [...Deno.readDirSync(`${run}/partial`)].filter(({ name }) => name.includes("~old-"));
    const isWhole = async (text: string) => {
      assertEquals([await makeToys(run), await toyHash(run)], [[], await hashAlone()]);
      assertEquals([await Deno.readTextFile(notes), aside()], [text, []]);
    };
    await Deno.mkdir(`${place}/notes`);
    await Deno.writeTextFile(notes, "mine");
    await Deno.rename(place, old());
    await Deno.remove(`${run}/parts`, { recursive: true });
    await makeToys(run);
    await isWhole("mine");

    // It was killed later: what has the place stays, with what the user wrote since.
    copyFolder(place, old());
    await Deno.writeTextFile(notes, "newer");
    await isWhole("newer");

    // Something else has the place: nothing is lost, and other nodes are made.
    await Deno.rename(`${run}/parts/01`, `${run}/partial/parts~01~old-${crypto.randomUUID()}`);
    await Deno.writeTextFile(`${run}/parts/01`, "mine");
    await tidyPartials(run);
    assertEquals([await Deno.readTextFile(`${run}/parts/01`), aside().length], ["mine", 1]);
    await Deno.remove(`${run}/parts/01`);
    await isWhole("newer");

    // Another process makes it before anybody has looked.
    const again = async (more: string) => {
      const folder = `${run}/partial/parts~00~${crypto.randomUUID()}`;
      await Deno.mkdir(folder, { recursive: true });
      await Deno.writeTextFile(`${folder}/rows.json`, "[]");
      const known = {
        name: "parts/00",
        key: more,
        revision: 1,
        settings: {},
        inputs: {},
        result: {},
      };
      await Deno.writeTextFile(`${folder}/${more}`, "new");
      const manifest = await writeManifest(folder, { ...known, files: await noteFiles(folder) });
      return await publish(run, "parts/00", folder, manifest, false);
    };
    await Deno.rename(place, old());
    await again("more.json");
    assertEquals([await Deno.readTextFile(notes), aside()], ["newer", []]);

    // A file of the user's stays where the node would have one of that name, and so does the node.
    await Deno.writeTextFile(`${place}/other.json`, "mine");
    await assertRejects(() => again("other.json"), InputError, "must not be a file of others");
    assertEquals(await Deno.readTextFile(`${place}/other.json`), "mine");

    await Deno.rename(place, `${run}/mine`);
    await Deno.symlink("../mine", place);
    await assertRejects(() => again("none.json"), InputError, "symbolic link");
    assertEquals(await Deno.readTextFile(notes), "newer");
  }));

Deno.test("processes that replace a node at once all do so, and keep the user's files", () =>
  inFolder(async (run) => {
    const write = (i: number) => writePages(run, "report", { "report.html": `page ${i}` });
    await write(0);
    await Deno.writeTextFile(`${run}/report/mine.txt`, "mine");
    for (let times = 0; times < 10; times++) await Promise.all([1, 2, 3, 4, 5, 6].map(write));
    assert(/^page [1-6]$/.test(await Deno.readTextFile(`${run}/report.html`)));
    assertEquals(await Deno.readTextFile(`${run}/report/mine.txt`), "mine");
    assertEquals([...Deno.readDirSync(`${run}/partial`)], []);

    // The same page stays in its place, from which a kill might keep it away; one that is damaged
    // does not.
    const path = `${run}/report/report.html`;
    const { ino } = await Deno.stat(path);
    const page = Number((await Deno.readTextFile(path)).slice(-1));
    await write(page);
    assertEquals((await Deno.stat(path)).ino, ino);
    await Deno.writeTextFile(path, "page X");
    await write(page);
    assertEquals(await Deno.readTextFile(path), `page ${page}`);
  }));

Deno.test("takeLock() names the owner, and an owner on a silent machine counts as dead", () =>
  inFolder(async (run) => {
    const lock = await takeLock(run, "tokens/00", "one");
    assert("release" in lock);
    const held = await takeLock(run, "tokens/00", "two");
    assert(!("release" in held));
    assertEquals([held.pid, held.task, held.node], [Deno.pid, "one", "tokens/00"]);
    assertEquals((await listOwners(run)).map(({ node }) => node), ["tokens/00"]);
    lock.release();
    assertEquals(await listOwners(run), []);
    // What another machine wrote, on a disk that passes no locks on.
    const path = `${run}/locks/tokens~00`;
    await Deno.writeTextFile(
      path,
      JSON.stringify({ node: "tokens/00", pid: 7, host: "far", task: "x", machine: "far/1" }),
    );
    assert(!("release" in await takeLock(run, "tokens/00", "two")));
    const old = new Date(Date.now() - 61_000);
    await Deno.utime(path, old, old);
    const taken = await takeLock(run, "tokens/00", "two");
    assert("release" in taken);
    taken.release();
  }));
