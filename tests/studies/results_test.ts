import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../kernels/errors.ts";
import { STUDIES } from "../../pipeline/reproduction/grid.ts";
import {
  namesOfNotes,
  noteFile,
  readKnown,
  readNote,
  writeKnown,
} from "../../pipeline/reproduction/folder.ts";
import { readKept, resultsText, withResults, writeSciencePage } from "./results.ts";
import { writeResults } from "../../pipeline/reproduction/results.ts";
import { hashes, inFolder, ROOT } from "../tasks/support.ts";
import { KEPT, note, outcome, setupsFor, study } from "../pipeline/reproduction/support.ts";

const MARKS = "<!-- results: begin -->\n<!-- results: end -->\n";

Deno.test("SCIENCE.md says what the results that are kept say, and README.md no other figures", async () => {
  const page = await Deno.readTextFile(`${ROOT}pipeline/SCIENCE.md`);
  const text = resultsText(await readKept(KEPT), "../fixtures/reproduction");
  assertEquals(withResults(page, text, "SCIENCE.md"), page);
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const printed = /^```\w*$[^]*?^```$/gm; // what a command prints is no result
  const figures = readme.replace(printed, "").match(/\d+\.\d+%/g)!;
  for (const figure of figures) assertStringIncludes(text, figure);
});

Deno.test("what is kept of studies can be read, and names no path: studies can go on from it", async () => {
  const folders = ["studies", "all-text", "all-text-small-routers", "short-warm-up"];
  for (const folder of [...folders, "short-training"]) {
    const kept = `${KEPT}/${folder}`;
    await readKnown(kept);
    const names = await namesOfNotes(kept);
    assert(names.length > 0, folder);
    for (const name of names) {
      assert((await readNote(kept, name))!.outcome.trained.experts, name);
      assert(!/"(\/|[A-Z]:)/.test(await Deno.readTextFile(`${kept}/${noteFile(name)}`)), name);
    }
  }
});

/** Makes a project whose page takes results, and gives the path of that page. */
async function project(root: string, page = `# Results\n\n${MARKS}\nThe end.\n`): Promise<string> {
  await Deno.mkdir(`${root}/fixtures/reproduction`, { recursive: true });
  await Deno.mkdir(`${root}/pipeline`);
  const path = `${root}/pipeline/SCIENCE.md`;
  await Deno.writeTextFile(path, page);
  return path;
}

/** What a study found where all of its mixtures have a perplexity. */
const resultOf = (name: string, mixture: number) => ({
  study: study(name),
  findings: study(name).findings(
    setupsFor(name).map((setup) =>
      outcome(setup, { mixture, gains: [[20, 18.5, 21], [-3, -4, -2]] })
    ),
  ),
  adapters: ["an adapter", "another one"],
  runs: setupsFor(name).map(({ name }) => name),
});

Deno.test("results of a folder of studies are taken in, with a picture each, and those that were not run are named", () =>
  inFolder(async (folder) => {
    const root = `${folder}/project`;
    const kept = `${root}/fixtures/reproduction/studies`;
    const path = await project(root);
    await writeResults(`${folder}/studies`, [resultOf("experts", 30), resultOf("routers", 30)], {});
    const listKept = async () =>
      (await readKept(`${root}/fixtures/reproduction`)).map(({ folder, study }) =>
        `${folder} ${study}`
      );
    assert(await writeSciencePage(root, `${folder}/studies`));
    assertEquals(await listKept(), ["studies experts", "studies routers"]);
    const page = await Deno.readTextFile(path);
    assertStringIncludes(page, "20.0% lower [18.5%, 21.0%]");
    assertStringIncludes(
      page,
      "[studies/experts](../fixtures/reproduction/studies/plots/study-experts.svg)",
    );
    assert((await Deno.stat(`${kept}/plots/study-routers.svg`)).size > 0);
    for (const name of STUDIES.keys()) {
      assertEquals(page.includes(`\`${name}\``), !["experts", "routers"].includes(name), name);
    }
    assert(page.endsWith("<!-- results: end -->\n\nThe end.\n"));
    // Anew: nothing moves.
    assertEquals(await writeSciencePage(root), false);
    assertEquals(await Deno.readTextFile(path), page);

    // Under another name others are kept next to these.
    const rate = (rate: number) => ({ rate, trials: [] });
    const [first] = setupsFor("experts");
    const [run] = setupsFor("routers");
    await note(kept, first);
    const routers = { kept: { routerRate: 0.1, rounds: 2, trials: [] } };
    await writeKnown(kept, { rates: { both: rate(1), kept: rate(1) }, routers });
    await writeResults(`${folder}/other`, [resultOf("routers", 31)], {});
    await writeKnown(`${folder}/other`, { rates: { both: rate(2), other: rate(2) } });
    await note(`${folder}/other`, run);
    await writeSciencePage(root, `${folder}/other`, "more");
    assertEquals(await listKept(), ["studies experts", "more routers", "studies routers"]);
    assertStringIncludes(
      await Deno.readTextFile(path),
      "[more](../fixtures/reproduction/more/reproduction.md#",
    );
    assertEquals((await readKnown(`${kept}/../more`)).rates, { both: rate(2), other: rate(2) });
    await Deno.remove(`${kept}/../more`, { recursive: true });

    // Those of the same studies, and more, take their place; notes and what was found are put next
    // to what is there.
    await writeResults(`${folder}/other`, [resultOf("routers", 31), resultOf("experts", 31)], {});
    await Deno.writeTextFile(`${kept}/plots/study-gone.svg`, "");
    await writeSciencePage(root, `${folder}/other`);
    assertEquals(await listKept(), ["studies experts", "studies routers"]);
    await assertRejects(() => Deno.stat(`${kept}/plots/study-gone.svg`));
    assertEquals(await readKnown(kept), {
      rates: { both: rate(2), kept: rate(1), other: rate(2) },
      routers,
    });
    assertEquals(await namesOfNotes(kept), [first.name, run.name].sort());
  }));

Deno.test("results that are not whole are refused, and nothing is written", () =>
  inFolder(async (folder) => {
    const root = `${folder}/project`;
    const kept = `${root}/fixtures/reproduction/studies`;
    await project(root);
    const [experts, routers] = [resultOf("experts", 30), resultOf("routers", 30)];
    await writeResults(kept, [experts, routers], {});
    const other = `${folder}/other`;
    const damaged = `outcomes/${setupsFor("experts")[0].name}.json`;
    const before = await hashes(root);
    const cases: [text: string, from: string, name?: string, damaged?: string][] = [
      ...["", "../x", "A b"].map((name): [string, string, string] => [
        "small letters",
        other,
        name,
      ]),
      ["studies.json", folder],
      ["what a run came to", other, "more", damaged],
    ];
    for (const [text, from, name, damaged] of cases) {
      await Deno.remove(other, { recursive: true }).catch(() => {});
      await writeResults(other, [experts, routers], {});
      if (damaged) {
        await Deno.mkdir(`${other}/outcomes`).then(() =>
          Deno.writeTextFile(`${other}/${damaged}`, "{}")
        );
      }
      const { message } = await assertRejects(
        () => writeSciencePage(root, from, name),
        InputError,
      );
      assertStringIncludes(message, text);
    }
    assertEquals(await hashes(root), before);
  }));
