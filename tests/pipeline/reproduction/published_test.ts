import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { dirname } from "node:path";
import { InputError } from "../../../kernels/errors.ts";
import { NOT_REPORTED } from "../../../pipeline/report/reproduction.ts";
import {
  type Published,
  publishResults,
  readPublished,
  resultsText,
  withResults,
} from "../../../pipeline/reproduction/published.ts";
import { filesUnder, hashFile } from "../../../pipeline/run/files.ts";
import {
  namesOfNotes,
  noteFile,
  Notes,
  RATES_FOUND,
  readKnown,
  readNote,
  ROUTERS_FOUND,
} from "../../../pipeline/reproduction/notes.ts";
import type { Setup } from "../../../pipeline/reproduction/study.ts";
import { writeResults } from "../../../pipeline/reproduction/results.ts";
import { STUDIES } from "../../../pipeline/reproduction/studies.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";
import { gridOf, outcome, setupsFor, study, wholeOutcome } from "./support.ts";

const MARKS = "<!-- results: begin -->\n<!-- results: end -->\n";

Deno.test("SCIENCE.md says what the results that are kept say, and README.md no other figures", async () => {
  const published = await readPublished(`${ROOT}fixtures/reproduction`);
  assert(published.length > 0 && published.every(({ claims }) => claims.length > 0));
  const page = await Deno.readTextFile(`${ROOT}pipeline/SCIENCE.md`);
  const text = resultsText(published, "../fixtures/reproduction");
  assertEquals(withResults(page, text, "SCIENCE.md"), page);
  for (const { here, paper } of published.flatMap(({ claims }) => claims)) {
    for (const part of [paper, here.replace(/ \[[^[\]]*\]$/, "")]) assertStringIncludes(page, part);
  }
  for (const { pictures } of published) {
    for (const picture of pictures) assertStringIncludes(page, `](../fixtures/reproduction/${picture})`);
  }
  const figures = (await Deno.readTextFile(`${ROOT}README.md`)).match(/\d+\.\d+%/g)!;
  assert(figures.length > 3);
  for (const figure of figures) assertStringIncludes(text, figure);
});

Deno.test("what does not hold is first, and a claim of several numbers of experts and seeds has one row", () => {
  const claim = (claim: string, here: string, holds: boolean | null) => ({
    claim,
    paper: "it does",
    here,
    holds,
  });
  const claims = [
    claim("2 experts: it beats dense, 2× batch", "3.0% lower [2.0%, 4.0%]", true),
    claim("4 experts, seed 1: it beats dense, 4× batch", "5.0% lower [4.0%, 6.0%]", true),
    claim("8 experts: it beats dense, 8× batch", "1.0% higher [0.5%, 2.0%]", false),
    claim("It is fast", "2 s", null),
  ];
  const one = { title: "One", study: "experts", mark: "", claims, table: "a/reproduction.md", pictures: [] };
  const link = "[experts](kept/a/reproduction.md)";
  assertEquals(resultsText([one], "kept").split("\n").filter((line) => line.startsWith("| ")).slice(2), [
    `| It beats dense, E× batch | it does | 8: 1.0% higher | 0.5% to 2.0% | **no** | ${link} |`,
    `| It beats dense, E× batch | it does | 2: 3.0% lower; 4, seed 1: 5.0% lower | 2.0% to 4.0%; 4.0% to 6.0% | yes | ${link} |`,
    `| It is fast | it does | 2 s |  |  | ${link} |`,
  ]);
});

Deno.test("a claim counts once where studies tell the same of one text, and again for another text", () => {
  const of = (study: string, mark: string, here = "3% lower"): Published => ({
    ...{ title: study, study, mark, table: `${mark || "studies"}/reproduction.md`, pictures: [] },
    claims: [{ claim: "it wins", paper: "it does", here, holds: false }],
  });
  const rowsOf = (...published: Published[]) =>
    resultsText(published, "kept").split("\n").filter((line) => line.startsWith("| It"));
  const [both, ...more] = rowsOf(of("experts", ""), of("dense", ""));
  assertEquals(more, []);
  assertStringIncludes(
    both,
    "| [experts](kept/studies/reproduction.md); [dense](kept/studies/reproduction.md) |",
  );
  assertStringIncludes(
    resultsText([of("experts", ""), of("dense", "")], "kept"),
    "1 of 1 verdicts on claims of",
  );
  assertEquals(rowsOf(of("experts", ""), of("dense", "", "2% lower")).length, 2);
  assertEquals(rowsOf(of("experts", ""), of("experts", " (other)")).length, 2);
});

Deno.test("what is kept of studies is whole, and names no path: studies can go on from it", async () => {
  for (
    const [folder, parts] of [
      ["studies", 3],
      ["all-text", 2],
      ["all-text-random-start", 1],
      ["all-text-warm-up-50", 1],
      ["short-warm-up", 3],
      ["all-text-small-routers", 2],
    ] as const
  ) {
    const kept = `${ROOT}fixtures/reproduction/${folder}`;
    const { rates, searches } = await readKnown(kept);
    const names = await namesOfNotes(kept);
    const found = [names, Object.keys(rates), Object.keys(searches)].map(({ length }) => length > 0);
    assertEquals(found, [true, parts > 1, parts > 2], folder);
    for (const name of names) {
      const { outcome } = (await readNote(kept, name))!;
      assert(outcome.trained.experts, name);
      assert(!/"(\/|[A-Z]:)/.test(await Deno.readTextFile(`${kept}/${noteFile(name)}`)), name);
    }
  }
});

Deno.test("results of a folder of studies are taken in, with a picture each, and those that were not run are named", () =>
  inFolder(async (folder) => {
    const root = `${folder}/project`;
    await Deno.mkdir(`${root}/fixtures/reproduction`, { recursive: true });
    await Deno.mkdir(`${root}/pipeline`);
    const path = `${root}/pipeline/SCIENCE.md`;
    await Deno.writeTextFile(path, `# Results\n\n${MARKS}\nThe end.\n`);
    const resultOf = (name: string, mixture: number) => ({
      study: study(name),
      findings: study(name).findings(
        setupsFor(name).map((setup) => outcome(setup, { mixture, gains: [[20, 18.5, 21], [-3, -4, -2]] })),
      ),
      adapters: ["an adapter"],
      runs: setupsFor(name).map(({ name }) => name),
    });
    await writeResults(`${folder}/studies`, [resultOf("experts", 30), resultOf("routers", 30)], {});
    const { published, written } = await publishResults({ root, from: `${folder}/studies` });
    assertEquals(written, true);
    assertEquals(published.map(({ study }) => study), ["experts", "routers"]);
    const page = await Deno.readTextFile(path);

    const claims = published.flatMap(({ claims }) => claims);
    const rows = page.split("\n").filter((line) => line.endsWith(" |")).slice(2);
    const verdicts = rows.map((row) => row.split("|").at(-3)!.trim());
    assertEquals(
      verdicts,
      verdicts.toSorted((a, b) => ["**no**", "yes", ""].indexOf(a) - ["**no**", "yes", ""].indexOf(b)),
    );
    assertStringIncludes(page, "20.0% lower");
    assertStringIncludes(page, "18.5% to 21.0%");
    assertStringIncludes(page, "![experts](../fixtures/reproduction/studies/plots/study-experts.svg)");
    assert((await Deno.stat(`${root}/fixtures/reproduction/studies/plots/study-routers.svg`)).size > 0);
    const judged = (isOwn: boolean, verdicts: (boolean | null)[]) =>
      claims.filter(({ paper, holds }) => (paper === NOT_REPORTED) === isOwn && verdicts.includes(holds))
        .length;
    const [papers, own] = [false, true].map((
      isOwn,
    ) => [judged(isOwn, [false]), judged(isOwn, [true, false])]);
    assertStringIncludes(page, `${papers[0]} of ${papers[1]} verdicts on claims of the paper`);
    assertStringIncludes(page, `${own[0]} of ${own[1]} on questions of our own`);
    for (const name of STUDIES.keys()) {
      assertEquals(page.includes(`\`${name}\``), !["experts", "routers"].includes(name), name);
    }
    assert(page.endsWith("<!-- results: end -->\n\nThe end.\n"));

    // Anew: nothing moves. Results of other studies do not take the place of these.
    assertEquals((await publishResults({ root })).written, false);
    assertEquals(await Deno.readTextFile(path), page);
    await assertRejects(() => publishResults({ root, as: "more" }), InputError, "from must say whose");
    const kept = `${root}/fixtures/reproduction/studies`;
    const rate = (rate: number) => ({ rate, trials: [] });
    await RATES_FOUND.write(kept, { both: rate(1), kept: rate(1) });
    await ROUTERS_FOUND.write(kept, { kept: { routerRate: 0.1, rounds: 2, trials: [] } });
    const [first] = setupsFor("experts");
    const noteIn = (place: string, setup: Setup) =>
      new Notes(gridOf(["experts"])).write(place, wholeOutcome(setup));
    await noteIn(kept, first);
    await writeResults(`${folder}/other`, [resultOf("routers", 31)], {});
    await RATES_FOUND.write(`${folder}/other`, { both: rate(2), other: rate(2) });
    const [run] = setupsFor("routers");
    await noteIn(`${folder}/other`, run);
    const { message } = await assertRejects(
      () => publishResults({ root, from: `${folder}/other` }),
      InputError,
      "experts would be lost",
    );
    assertStringIncludes(message, "under another name, with as");
    assertEquals(await Deno.readTextFile(path), page);

    // Nor do results of fewer seeds.
    const [one, more] = [resultOf("experts", 30), resultOf("routers", 30)];
    const seeds = { ...more, runs: [...more.runs, "em-router-width-16-seed-1"] };
    await writeResults(kept, [one, seeds], {});
    await writeResults(`${folder}/fewer`, [one, more], {});
    await assertRejects(
      () => publishResults({ root, from: `${folder}/fewer` }),
      InputError,
      "1 of 2 seeds of routers would be lost",
    );
    await writeResults(kept, [one, more], {});

    // Under another name they are kept beside these.
    const { published: both } = await publishResults({ root, from: `${folder}/other`, as: "more" });
    assertEquals(both.map(({ title, table }) => [title.split(" (")[1], table]), [
      [undefined, "studies/reproduction.md"],
      ...[["more)", "more/reproduction.md"], [undefined, "studies/reproduction.md"]],
    ]);
    assertEquals(await RATES_FOUND.read(`${kept}/../more`), { both: rate(2), other: rate(2) });
    await Deno.remove(`${kept}/../more`, { recursive: true });

    // Those of the same studies, and more, take their place; notes and what was found are put beside what is there.
    await writeResults(`${folder}/other`, [resultOf("routers", 31), resultOf("experts", 31)], {});
    await Deno.writeTextFile(`${kept}/plots/study-gone.svg`, "");
    assertEquals((await publishResults({ root, from: `${folder}/other` })).published.length, 2);
    await assertRejects(() => Deno.stat(`${kept}/plots/study-gone.svg`));
    assertEquals(await RATES_FOUND.read(kept), { both: rate(2), kept: rate(1), other: rate(2) });
    assertEquals(Object.keys(await ROUTERS_FOUND.read(kept)), ["kept"]);
    assertEquals(await namesOfNotes(kept), [first.name, run.name].sort());

    // What is refused changes nothing: the folder that is kept, also by a link, or a file that cannot be read.
    const all = async () =>
      await Promise.all(
        (await Array.fromAsync(filesUnder(root, ""))).sort().map(async (
          path,
        ) => [path, (await hashFile(`${root}/${path}`)).sha256]),
      );
    const before = await all();
    await Deno.symlink(kept, `${folder}/link`);
    for (const from of [kept, `${folder}/link`]) {
      await assertRejects(
        () => publishResults({ root, from }),
        InputError,
        "it is the folder of these",
      );
    }
    for (const as of ["", "../x", "A b"]) {
      await assertRejects(
        () => publishResults({ root, from: `${folder}/other`, as }),
        InputError,
        "small letters",
      );
    }
    await writeResults(`${folder}/third`, [resultOf("experts", 31), resultOf("routers", 31)], {});
    await Deno.mkdir(`${folder}/third/rates.json`);
    await assertRejects(
      () => publishResults({ root, from: `${folder}/third` }),
      InputError,
      "rates.json cannot",
    );
    await Deno.remove(`${folder}/third/rates.json`);
    // Nor what a killed process had not written to its end.
    for (const file of ["plots/study-routers.svg", "reproduction.md"]) {
      await Deno.remove(`${folder}/third/${file}`);
      await assertRejects(
        () => publishResults({ root, from: `${folder}/third` }),
        InputError,
        `there is no ${file}`,
      );
    }
    await writeResults(`${folder}/third`, [resultOf("experts", 31), resultOf("routers", 31)], {});
    const damaged = `${folder}/third/outcomes/${setupsFor("experts")[0].name}.json`;
    await Deno.mkdir(dirname(damaged));
    await Deno.writeTextFile(damaged, "{}");
    await assertRejects(
      () => publishResults({ root, from: `${folder}/third` }),
      InputError,
      "what a run came to",
    );
    await Deno.remove(damaged);
    assertEquals(await all(), before);
  }));

Deno.test("results that are none, and pages without a place for them, are refused, and nothing is written", () =>
  inFolder(async (root) => {
    await Deno.mkdir(`${root}/fixtures/reproduction`, { recursive: true });
    await Deno.mkdir(`${root}/pipeline`);
    const path = `${root}/pipeline/SCIENCE.md`;
    await Deno.writeTextFile(path, MARKS);
    await assertRejects(() => publishResults({ root, from: root }), InputError, "there is no studies.json");
    await Deno.writeTextFile(path, "nothing");
    await assertRejects(() => publishResults({ root }), InputError, "its marks are missing");
    assertEquals(await Deno.readTextFile(path), "nothing");
    assertThrows(
      () => withResults("<!-- results: end -->\n<!-- results: begin -->", "", "a page"),
      InputError,
    );
  }));
