import { assert, assertEquals } from "@std/assert";
import { readManifest } from "../../../pipeline/graph/mod.ts";
import { needColumn, readArrow } from "../../../pipeline/rows/arrow.ts";
import { readIntegers, readStrings } from "../../../pipeline/rows/column_values.ts";
import { runOneStage } from "../../../pipeline/run/partition.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { Walk } from "../../../pipeline/graph/walk.ts";
import { exists } from "../../../pipeline/graph/files.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import {
  copyFolder,
  inFolder as inNew,
  ok,
  sendSignal,
  task,
  taskCommand,
} from "../../tasks/support.ts";
import { makeSmall, rootHash, smallSettings, writeTexts } from "./support.ts";

const inFolder = (body: (folder: string) => Promise<void>) =>
  inNew(async (folder) => {
    await writeTexts(`${folder}/text`);
    await body(folder);
  });

/** Counts the nodes that would be made, by the folder that they lie in. */
async function planned(run: string, configuration: Configuration): Promise<Record<string, number>> {
  const { nodes } = await partitionGraph(run, configuration);
  const walk = new Walk(run, nodes);
  const counts: Record<string, number> = {};
  for (const node of nodes) {
    const { state } = await walk.of(node);
    const [folder] = node.name.split("/");
    if (state !== "made" && state !== "spent") counts[folder] = (counts[folder] ?? 0) + 1;
  }
  return counts;
}

for (const partitioner of ["em", "ctbm", "random", "source"]) {
  Deno.test(`a partition by ${partitioner} is the same bytes from one process and from parts in any order`, () =>
    inFolder(async (folder) => {
      const more = { partitioner, sourceFromPath: "{source}?.*", method: "balanced" };
      const configuration = smallSettings(`${folder}/text`, more);
      const [one, parts] = [`${folder}/one`, `${folder}/parts`];
      await makeSmall(one, configuration);
      const { nodes } = await partitionGraph(one, configuration);
      assert(nodes.filter(({ name }) => name.startsWith("tokens/")).length >= 10);
      for (const index of [3, 1, 2]) {
        await makeSmall(parts, configuration, { part: { index, of: 3 } });
      }
      assertEquals(await rootHash(parts, configuration), await rootHash(one, configuration));
      assertEquals(await planned(parts, configuration), {});
    }));
}

Deno.test("routers by parts on 4 processes, of which one is killed for good, are those of one process", () =>
  inFolder(async (folder) => {
    const base = `${folder}/base`;
    const flags = smallSettings(`${folder}/text`, { experts: 4 });
    await runOneStage({ run: base, stage: "tokenize", sources: { flags } });
    const finish = async (run: string) => {
      await ok(task("train-routers", ["--run", `${folder}/${run}`]));
      return (await readManifest(`${folder}/${run}/partitioner`))!.files;
    };
    copyFolder(base, `${folder}/alone`);
    const alone = await finish("alone");
    assert("router-03/model.safetensors" in alone, Object.keys(alone).join());
    const parts = 4;
    const run = "by-parts";
    copyFolder(base, `${folder}/${run}`);
    const children = Array.from({ length: parts }, (_, part) => {
      const args = ["--run", `${folder}/${run}`, "--part", `${part + 1}/${parts}`];
      return taskCommand("train-routers", args, { stdout: "null" }).spawn();
    });
    const outputs = children.map((child) => child.output());
    const begun = `${folder}/${run}/rounds/01/router-00/manifest.json`;
    while (!await exists(begun)) await new Promise((done) => setTimeout(done, 5));
    sendSignal(children[0], "SIGKILL");
    const ends = (await Promise.all(outputs)).map(({ signal, code }) => signal ?? code);
    assertEquals(ends, ["SIGKILL", ...Array(parts - 1).fill(0)]);
    assertEquals(await finish(run), alone);
  }));

Deno.test("with a given tokenizer, routers and prices, a file more touches its block alone", () =>
  inFolder(async (folder) => {
    const first = smallSettings(`${folder}/text`);
    await makeSmall(`${folder}/one`, first);
    const given = smallSettings(`${folder}/text`, {
      tokenizer: `${folder}/one/tokenizer/tokenizer.json`,
      routers: `${folder}/one/partitioner`,
      prices: `${folder}/one`,
    });
    await makeSmall(`${folder}/two`, given);
    assertEquals(await planned(`${folder}/two`, given), {});
    await Deno.writeTextFile(`${folder}/text/99.txt`, "a court and a judge ".repeat(200));
    const counts = await planned(`${folder}/two`, given);
    assertEquals([counts.tokens, counts.scores, counts.assignments], [1, 1, 1]);
    const made: string[] = [];
    const walk = await makeSmall(`${folder}/two`, given, {
      lock: (_, node) => {
        made.push(node);
        return Promise.resolve({ release: () => {} });
      },
    });
    const folders = [
      ...["tokens", "text", "text", "scores", "assignments", "split"],
      ...Array(4).fill("partition"),
    ];
    assertEquals(made.map((name) => name.split("/")[0]), folders);
    const { result } = walk.manifest("partition/expert-00");
    assert((result.train as { sequences: number }).sequences > 0);
    await Deno.remove(`${folder}/text/99.txt`);
    assertEquals(Object.keys(await planned(`${folder}/two`, given)), ["text", "partition"]);
  }));

Deno.test("limits take the same documents whatever the blocks", () =>
  inFolder(async (folder) => {
    const first = { run: `${folder}/first`, sources: { flags: smallSettings(`${folder}/text`) } };
    await runOneStage({ ...first, stage: "tokenizer" });
    const tokenizer = `${first.run}/tokenizer/tokenizer.json`;
    const documents = async (more: Partial<Configuration>) => {
      const run = `${folder}/${crypto.randomUUID()}`;
      const configuration = smallSettings(`${folder}/text`, { tokenizer, holdout: 0, ...more });
      await runOneStage({ run, stage: "tokenize", sources: { flags: configuration } });
      const { nodes } = await partitionGraph(run, configuration);
      const names = nodes.map(({ name }) => name).filter((name) => name.startsWith("tokens/"));
      const manifests = await Promise.all(names.map((name) => readManifest(`${run}/${name}`)));
      const sum = (field: string) =>
        manifests.reduce((total, manifest) => total + Number(manifest!.result[field]), 0);
      return [sum("documents"), sum("tokens")];
    };
    for (const take of ["hash", "head"] as const) {
      const many = await documents({ maxDocuments: 20, take });
      assertEquals(many, await documents({ maxDocuments: 20, take, blockBytes: 1e9 }));
      assertEquals(many[0], 20);
      const tokens = await documents({ maxTokens: 3_000, take });
      assertEquals(tokens, await documents({ maxTokens: 3_000, take, blockBytes: 1e9 }));
      assert(tokens[1] >= 3_000 && tokens[1] < 4_000);
    }
  }));

Deno.test("the index leads from every document to its file, and after the split to its expert", () =>
  inFolder(async (folder) => {
    const bySource = {
      partitioner: "source",
      sourceFromPath: "{source}?.*",
      method: "argmax",
      holdout: 0.3,
    };
    const configuration = smallSettings(`${folder}/text`, bySource);
    const run = `${folder}/run`;
    await makeSmall(run, configuration);
    const read = async (path: string, name: string) => {
      const batches = await Array.fromAsync(readArrow(`${run}/${path}/documents.arrow`));
      return batches.flatMap((batch) => readStrings(needColumn(batch, name)));
    };
    const paths = await read("text", "path");
    assertEquals(paths.length, 6 * 6 + 18); // six files of six lines, and others of one document
    assertEquals(new Set(paths).size, 24);
    assertEquals(await read("partition", "path"), paths);
    const experts = await read("partition", "expert");
    assertEquals(new Set(experts), new Set(["0", "1"])); // a source goes to one expert
    for (const packing of ["document", "concat"] as const) {
      const mixed = { partitioner: "random", method: "balanced", packing } as const;
      await makeSmall(`${folder}/${packing}`, smallSettings(`${folder}/text`, mixed));
      for await (const batch of readArrow(`${folder}/${packing}/partition/documents.arrow`)) {
        const [experts, shares] = ["expert", "shares"].map((name) =>
          readStrings(needColumn(batch, name))
        );
        const isRight = (text: string, i: number) => (text !== "") === (experts[i] === "mixed");
        assert(experts.includes("mixed") && shares.every(isRight));
      }
    }
  }));

Deno.test("lines in the index are those of the text, whatever the file was like before", () =>
  inFolder(async (folder) => {
    const path = `${folder}/lines/a.jsonl`;
    await Deno.mkdir(`${folder}/lines`);
    const line = (text: string) => JSON.stringify({ text }) + "\n";
    const lines = Array.from(
      { length: 60 },
      (_, i) => line(`the judge of case ${100 + i} and a river `.repeat(3)),
    );
    // Two lines become one of as many bytes: all blocks but the first keep their bytes, but not
    // their lines.
    const joined = line("j".repeat(lines[0].length + lines[1].length - line("").length));
    const given = smallSettings(`${folder}/lines`, { partitioner: "random", method: "balanced" });
    await Deno.writeTextFile(path, lines.join(""));
    await makeSmall(`${folder}/first`, given);
    const named = { ...given, tokenizer: `${folder}/first/tokenizer/tokenizer.json` };
    await makeSmall(`${folder}/run`, named);
    await Deno.writeTextFile(path, joined + lines.slice(2).join(""));
    assertEquals((await planned(`${folder}/run`, named)).tokens, 1);
    await makeSmall(`${folder}/run`, named);
    await makeSmall(`${folder}/fresh`, named);
    const index = (run: string) => Deno.readFile(`${folder}/${run}/partition/documents.arrow`);
    assertEquals(await index("run"), await index("fresh"));
    const places: number[] = [];
    for await (const batch of readArrow(`${folder}/run/text/documents.arrow`)) {
      places.push(...readIntegers(needColumn(batch, "place"), Uint32Array));
    }
    assertEquals(places.sort((a, b) => a - b), Array.from({ length: 59 }, (_, i) => i + 1));
  }));
