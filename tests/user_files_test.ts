import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  inFolder,
  lastOfEach,
  ok,
  refused,
  sendSignal,
  SMALL,
  smallRun,
  smallRunAt,
  taskCommand,
  taskHere,
} from "./tasks/support.ts";

/** Lists everything below a folder: files with their text, links with where they lead, folders. */
async function listTree(folder: string, under = ""): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(`${folder}/${under}`)) {
    const path = `${under}${name}`;
    if (isDirectory) Object.assign(found, { [path]: "folder" }, await listTree(folder, `${path}/`));
    else {found[path] = isSymlink
        ? Deno.readLinkSync(`${folder}/${path}`)
        : Deno.readTextFileSync(`${folder}/${path}`);}
  }
  return found;
}

/** Puts files and links of a user's into a folder and all that are in it; tells which. */
function litter(run: string, away: string, names: readonly string[]): string[] {
  const placed: string[] = [];
  const visit = (folder: string) => {
    const inside = [...Deno.readDirSync(folder)].filter(({ isDirectory }) => isDirectory);
    for (const { name } of inside) visit(`${folder}/${name}`);
    for (const name of names) Deno.writeTextFileSync(`${folder}/${name}`, `${name} of the user`);
    Deno.symlinkSync(away, `${folder}/link`);
    Deno.mkdirSync(`${folder}/own/deep.partial`, { recursive: true });
    Deno.writeTextFileSync(`${folder}/own/deep.partial/train-00000.arrow`, "mine");
    placed.push(
      ...[...names, "link", "own/deep.partial/train-00000.arrow"].map((name) =>
        `${folder}/${name}`
      ),
    );
  };
  visit(run);
  return placed;
}

const MINE = [
  "mine.txt",
  "a.partial",
  "train-1.arrow",
  "train-00000.arrow.bak",
  "document.jsonl",
  ".hidden",
];

Deno.test("a folder that is not empty and no run is refused, and nothing in it is touched", () =>
  inFolder(async (folder) => {
    const home = `${folder}/home`;
    const make: ((home: string) => void)[] = [
      () => Deno.writeTextFileSync(`${home}/notes.partial`, "mine"),
      () => {
        Deno.mkdirSync(`${home}/tokens`);
        Deno.writeTextFileSync(`${home}/tokens/mine.txt`, "mine");
      },
      () =>
        Deno.writeTextFileSync(`${home}/config.json`, '{"architectures": ["GPTNeoXForCausalLM"]}'),
      () => Deno.writeTextFileSync(`${home}/tokenizer.json`, "{}"),
      () => Deno.symlinkSync(`${folder}/nowhere`, `${home}/config.json`),
      () => {
        Deno.mkdirSync(`${home}/manifests`);
        Deno.writeTextFileSync(`${home}/manifests/mine.json`, "{}");
      },
    ];
    const others = [["partition", "--force"], ["corpus"], ["score", "--part", "1/2"]];
    for (const [i, fill] of make.entries()) {
      await Deno.mkdir(home);
      fill(home);
      const before = await listTree(home);
      for (const [name, ...flags] of [["partition"], ...i === 0 ? others : []]) {
        const { code, err } = await taskHere(name, ["--run", home, ...flags]);
        assertEquals(code, 2, err);
        assertEquals(await listTree(home), before, err);
      }
      await Deno.remove(home, { recursive: true });
    }
  }));

Deno.test("files and links of the user's stay at every level of a run, through kills, changes, --force and what links lead to", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/away/expert-00`, { recursive: true });
    const names =
      "x.partial train-00000.arrow expert-00/train-00000.arrow step-00000001.safetensors";
    for (const name of names.split(" ")) await Deno.writeTextFile(`${folder}/away/${name}`, "mine");
    const away = await listTree(`${folder}/away`);
    const { run, docs } = await smallRunAt(`${folder}/run`);
    const args = ["--run", run, "--input", docs, ...SMALL];
    const brief =
      "--expert 0 --expert-steps 4 --expert-batch 4 --expert-hidden 8 --expert-layers 1 --expert-heads 2";
    const tiny = ["--run", run, ...brief.split(" "), "--checkpoint-every", "1"];
    assertEquals((await taskHere("train-expert", tiny)).code, 0);
    const placed = litter(run, `${folder}/away`, MINE);
    const all = await listTree(run);
    const mine = Object.entries(all).filter(([path]) => placed.includes(`${run}/${path}`));
    assert(
      mine.length === placed.length && mine.length > 100,
      `${mine.length} of ${placed.length}`,
    );
    const check = async (what: string) => {
      const now = await listTree(run);
      assertEquals(mine.filter(([path, text]) => now[path] !== text), [], what);
      assertEquals(await listTree(`${folder}/away`), away, what);
    };

    const quiet = { stderr: "null", stdout: "null" } as const;
    const child = taskCommand("partition", [...args, "--force", "--experts", "3"], quiet).spawn();
    setTimeout(() => sendSignal(child, "SIGKILL"), 900);
    await child.status;
    // Puts back what was aside when the process was killed.
    await ok(taskHere("clean", ["--run", run]));
    await check("after a kill");
    const steps: [string, string[]][] = [
      ["partition", [...args, "--force", "--experts", "3"]],
      ["partition", [...args, "--force", "--experts", "2", "--shard-sequences", "50"]],
      ["train-expert", [...tiny, "--force"]],
    ];
    for (const [name, flags] of steps) {
      await ok(taskHere(name, lastOfEach(flags)));
      await check(`after ${name} ${flags.join(" ")}`);
    }
    const verified = await taskHere("verify", ["--run", run]);
    assertEquals(verified.code, 0, verified.out + verified.err);
    await Deno.mkdir(`${run}/partition/expert-07`);
    await Deno.writeTextFile(`${run}/partition/expert-07/mine.txt`, "mine");
    await refused(
      taskHere("partition", lastOfEach([...args, "--force", "--experts", "8"])),
      'expert-07" as it must not hold files of others',
    );
    assertEquals(await Deno.readTextFile(`${run}/partition/expert-07/mine.txt`), "mine");
  }));

Deno.test("what the run would write in place, or through a folder, is refused where it is a link", () =>
  inFolder(async (folder) => {
    const { run, docs } = await smallRunAt(`${folder}/run`);
    const args = ["--run", run, "--input", docs, ...SMALL];
    for (
      const path of ["locks", "metrics/timing.jsonl", "tokens", "partition/expert-01", "scratch"]
    ) {
      await Deno.mkdir(`${folder}/mine`);
      const isFolder = !path.includes(".json");
      if (isFolder) await Deno.mkdir(`${run}/${path}`, { recursive: true });
      if (isFolder) await Deno.rename(`${run}/${path}`, `${folder}/mine/it`);
      else await Deno.writeTextFile(`${folder}/mine/it`, "mine");
      await Deno.remove(`${run}/${path}`).catch(() => {});
      await Deno.symlink(`${folder}/mine/it`, `${run}/${path}`);
      const before = await listTree(`${folder}/mine`);
      await refused(
        taskHere("partition", [...args, "--force"]),
        `${path}" as it must not lead elsewhere: it is a symbolic link`,
      );
      assertEquals(await listTree(`${folder}/mine`), before);
      await Deno.remove(`${run}/${path}`);
      if (isFolder) await Deno.mkdir(`${run}/${path}`, { recursive: true });
      if (isFolder) await Deno.rename(`${folder}/mine/it`, `${run}/${path}`);
      await Deno.remove(`${folder}/mine`, { recursive: true });
    }
  }));

Deno.test("no task writes over what it reads, nor over a file of a run", () =>
  inFolder(async (folder) => {
    const docs = `${folder}/docs.jsonl`;
    await Deno.copyFile((await smallRun()).docs, docs);
    const [run, other] = ["run", "other"].map((name) => `${folder}/${name}`);
    for (const place of [run, other]) await smallRunAt(place);
    for (const name of ["tokenizer.json", "config.json"]) {
      await Deno.copyFile(`${run}/${name}`, `${folder}/${name}`);
    }
    const [{ name: block }] = [...Deno.readDirSync(`${run}/scores`)];
    await Deno.copyFile(`${run}/scores/${block}/train.arrow`, `${folder}/scores.arrow`);
    await Deno.link(docs, `${folder}/hard.jsonl`);
    const tokenizer = ["--tokenizer", `${folder}/tokenizer.json`];
    const routers = ["--routers", `${run}/partitioner`, "--prefix", "16"];
    const [shard, scores] = [`${run}/tokens/${block}/test.arrow`, `${folder}/scores.arrow`];
    const cases: [name: string, args: string[], output: string][] = [
      ["corpus", ["--input", docs], docs],
      ["corpus", ["--input", `${folder}/d*.jsonl`], `${folder}/hard.jsonl`],
      ["tokenizer", [docs], docs],
      ["tokenize", [docs, ...tokenizer], docs],
      ["tokenize", [docs, ...tokenizer], `${folder}/tokenizer.json`],
      [
        "tokenize",
        [docs, ...tokenizer, "--config", `${folder}/config.json`],
        `${folder}/config.json`,
      ],
      ["score", [shard, ...routers], shard],
      ["assign", [scores], scores],
      ["assign", [scores], `${other}/tokens/${block}/train.arrow`],
      ["assign", [scores, "--method", "optimal"], `${other}/assignments/own`],
      ["report", ["--run", run], `${run}/config.json`],
      ["report", ["--run", run], `${other}/partition/expert-00/train-00000.arrow`],
      ["compare", [run, other], `${other}/tokenizer.json`],
    ];
    const before = await listTree(folder);
    for (const [name, args, output] of cases) {
      const { code, err } = await taskHere(name, [...args, "--output", output]);
      assertEquals(code, 2, `${name}: ${err}`);
      assertMatch(err, /^error: Cannot write ".+" as it must not .*; choose another --output\n$/);
      assertEquals(await listTree(folder), before, name);
    }
    for (const page of [`${run}/report.html`, `${folder}/page.html`]) {
      await ok(taskHere("report", ["--run", run, "--samples", "0", "--output", page]));
    }
    // The manifest of the page is that of the page.
    assertEquals((await taskHere("verify", [run])).code, 0);
  }));
