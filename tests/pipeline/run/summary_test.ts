import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { expertNames } from "../../../pipeline/partition/names.ts";
import { comparePartition, summarizeRun } from "../../../pipeline/run/partition.ts";
import { needColumn, readArrow } from "../../../pipeline/rows/arrow.ts";
import { readIntegers, readStrings } from "../../../pipeline/rows/column_values.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { copyFolder, execute, inFolder, ok } from "../../tasks/support.ts";
import { makeSmall, smallSettings, smallWork, writeTexts } from "./support.ts";

const SETTINGS = { holdout: 0.3, sourceFromPath: "{source}?.*" } as const;

function inRuns(
  body: (
    folder: string,
    make: (name: string, more?: Partial<Configuration>) => Promise<string>,
  ) => void,
): Promise<void> {
  return inFolder(async (folder) => {
    await writeTexts(`${folder}/text`, 12);
    await body(folder, async (name, more = {}) => {
      const configuration = smallSettings(`${folder}/text`, { ...SETTINGS, ...more });
      await makeSmall(`${folder}/${name}`, configuration);
      await writeRunConfiguration(`${folder}/${name}`, configuration);
      return `${folder}/${name}`;
    });
  });
}

Deno.test("a summary reports what was done, and what is held out of each source", () =>
  inRuns(async (_, make) => {
    const run = await make("run");
    const names = (await expertNames(run))!;
    for (const { expert, likeliest: [first], leastLikely: [last] } of names) {
      const { experts } = await summarizeRun(run);
      assert(first.cost < experts[expert].nllPerToken! && experts[expert].nllPerToken! < last.cost);
    }
    const summary = await summarizeRun(run, [{ stage: "split", state: "run", seconds: 1 }]);
    assert(summary.nllPerToken! > 0 && summary.regret! >= 0);
    assertAlmostEquals(summary.shares.reduce((a, b) => a + b, 0), 1, 1e-12);
    assertEquals(summary.rounds.map(({ round }) => round), [1, 2, 3]);
    assertEquals(summary.stages.map(({ stage }) => stage), ["split"]);
    assertEquals(summary.adapter, (await smallWork(run).gpu()).adapter);

    const heldOut: Record<string, { documents: number; tokens: number }> = {};
    for await (const batch of readArrow(`${run}/text/documents.arrow`)) {
      const [sources, sides] = ["source", "side"].map((name) =>
        readStrings(needColumn(batch, name))
      );
      const tokens = readIntegers(needColumn(batch, "tokens"), Uint32Array);
      for (const [i, source] of sources.entries()) {
        const counts = heldOut[source] ??= { documents: 0, tokens: 0 };
        if (sides[i] !== "test") continue;
        counts.documents++;
        counts.tokens += tokens[i];
      }
    }
    assertEquals(summary.heldOut, heldOut);
    assert(Object.values(heldOut).some(({ documents }) => documents > 0));
    await Deno.remove(`${run}/partition/expert-01`, { recursive: true });
    await assertRejects(() => summarizeRun(run), InputError, "there is no partition/expert-01");
  }));

Deno.test("a summary of labels tells what a cost is, and one of an optimal assignment what it proves", () =>
  inRuns(async (_, make) => {
    const run = await make("run", { partitioner: "source", method: "optimal" });
    const { costs, proof, experts, nllPerToken, rounds, adapter } = await summarizeRun(run);
    assertEquals([costs, rounds, adapter], ["per sequence", [], null]); // it needs no device
    const sequences = experts.reduce((sum, expert) => sum + expert.sequences, 0);
    assertEquals([proof!.rows, proof!.loads], [
      sequences,
      experts.map(({ sequences }) => sequences),
    ]);
    assertAlmostEquals(nllPerToken!, proof!.cost / sequences, 1e-9);
    assertEquals([proof!.gapPerSequence < 1e-9, "prices" in proof!], [true, false]);
  }));

Deno.test("a root hash is that of sha256sum, wherever the partitioner lies, and a comparison names what differs", () =>
  inRuns(async (folder, make) => {
    const run = await make("run");
    const here = await summarizeRun(run);
    const command =
      `find partition/expert-* partitioner -type f ! -name manifest.json | LC_ALL=C sort | ` +
      `xargs sha256sum | sha256sum`;
    const { out } = await ok(execute("sh", ["-c", command], { cwd: run }));
    assertEquals(out.slice(0, 64), here.sha256);
    copyFolder(`${run}/partitioner`, `${folder}/routers`);
    const given = { routers: `${folder}/routers`, tokenizer: `${run}/tokenizer.json` };
    const there = await make("there", given);
    assertEquals(await comparePartition(there, here.sha256), []);
    await Deno.remove(`${folder}/routers/manifest.json`);
    assertEquals((await summarizeRun(there)).files, here.files);

    const compare = async (change: (document: typeof here) => void) => {
      const document = structuredClone(here);
      change(document);
      await Deno.writeTextFile(`${folder}/there.json`, JSON.stringify(document));
      return await comparePartition(run, `${folder}/there.json`);
    };
    assertEquals(await compare(() => {}), []);
    const other = "0".repeat(64);
    const [root, ...more] = await comparePartition(run, other);
    assertEquals(more, []);
    assert(wordText(root.what).includes("its root hash must be 000000000000…"));
    const [file, gone] = [0, 2].map((expert) => `partition/expert-0${expert}/train-00000.arrow`);
    const found = await compare((document) => {
      document.sha256 = document.files[file].sha256 = other;
      document.files[gone] = { bytes: 1, sha256: other };
      document.versions.deno = "1.0.0";
    });
    assertEquals(found.map(({ file }) => file), ["partition", file, gone]);
    assert(wordText(found[2].what).includes("it is not there"));
    assert(wordText(found[0].remedy).includes("deno 1.0.0"));
    await Deno.writeTextFile(`${folder}/else.json`, "{}");
    await assertRejects(
      () => comparePartition(run, `${folder}/else.json`),
      InputError,
      "printed as JSON",
    );
    await assertRejects(() => comparePartition(folder, other), InputError, "must hold a partition");
  }));
