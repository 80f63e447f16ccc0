import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
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

Deno.test("README.md says what the results that are kept say: deno task results writes it", async () => {
  const published = await readPublished(`${ROOT}fixtures/reproduction`);
  assert(published.length > 0 && published.every(({ claims }) => claims.length > 0));
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const text = resultsText(published, "fixtures/reproduction");
  assertEquals(withResults(readme, text, "README.md"), readme);
  for (const { claims } of published) {
    for (const { claim, paper } of claims) assertStringIncludes(readme, `| ${claim} | ${paper} |`);
  }
  // What is written by hand there says no other figures.
  const [, byHand] = /^## What came out\n([^]*?)^<!-- results: begin/m.exec(readme)!;
  const figures = byHand.match(/\d+\.\d+%/g)!;
  assert(figures.length > 3);
  const tables = await Promise.all(
    published.map(({ table }) => Deno.readTextFile(`${ROOT}fixtures/reproduction/${table}`)),
  );
  const known = [text, ...tables].join(" ");
  for (const figure of figures) assertStringIncludes(known, figure);
});

Deno.test("all claims are said to hold only where all are judged", () => {
  const published = (title: string, ...verdicts: (boolean | null)[]) => {
    const claims = verdicts.map((holds) => ({
      claim: `${title} wins`,
      paper: "it does",
      here: "3% lower",
      holds,
    }));
    return { title, study: "experts", mark: "", claims, table: "a/reproduction.md", pictures: [] };
  };
  const text = resultsText([
    ...[published("Whole", true), published("Open", true, null), published("Unjudged", null)],
    published("Failing", true, false, null),
  ], "results");
  assertStringIncludes(text, "- **Failing**: 1 of 2 hold.");
  assertStringIncludes(
    text,
    "\n\nAll claims hold: Whole. All claims hold that are judged: Open (1 of 2 are). No claim is judged: Unjudged. ",
  );
});

Deno.test("a claim counts once where studies tell the same of one text, and again for another text", () => {
  const of = (study: string, mark: string, here = "3% lower"): Published => ({
    ...{ title: study, study, mark, table: `${mark || "studies"}/reproduction.md`, pictures: [] },
    claims: [{ claim: "it wins", paper: "it does", here, holds: false }],
  });
  const rowsOf = (...published: Published[]) =>
    resultsText(published, "kept").split("\n").filter((line) => line.startsWith("| ["));
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
    await Deno.writeTextFile(`${root}/README.md`, `# README\n\n${MARKS}\nThe end.\n`);
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
    const readme = await Deno.readTextFile(`${root}/README.md`);

    const rows = readme.split("\n").filter((line) => line.startsWith("| ["));
    const claims = published.flatMap(({ claims }) => claims);
    assertEquals(rows.length, claims.length);
    const verdicts = rows.map((row) => row.split("|").at(-2)!.trim());
    assertEquals(
      verdicts,
      verdicts.toSorted((a, b) => ["**no**", "yes", ""].indexOf(a) - ["**no**", "yes", ""].indexOf(b)),
    );
    assertStringIncludes(readme, "| 20.0% lower | 18.5% to 21.0% | yes |");
    assertMatch(
      readme,
      /!\[How the gain grows[^\]]*\]\(fixtures\/reproduction\/studies\/plots\/study-experts\.svg\)/,
    );
    assert((await Deno.stat(`${root}/fixtures/reproduction/studies/plots/study-routers.svg`)).size > 0);
    const told = (isOwn: boolean, verdicts: (boolean | null)[]) =>
      claims.filter(({ paper, holds }) => (paper === NOT_REPORTED) === isOwn && verdicts.includes(holds))
        .length;
    const [papers, own] = [false, true].map((isOwn) => [told(isOwn, [false]), told(isOwn, [true, false])]);
    assertStringIncludes(readme, `${papers[0]} of ${papers[1]} verdicts on claims of the paper`);
    assertStringIncludes(readme, `${own[0]} of ${own[1]} on questions of our own`);
    const [figure] = claims.find(({ holds }) => holds === false)!.here.split(" [");
    assertStringIncludes(readme, figure);
    assertMatch(readme, /^- \*\*How the gain grows[^*]*\*\*: \d+ of \d+ hold\. What does not: _/m);
    for (const name of STUDIES.keys()) {
      assertEquals(readme.includes(`\`${name}\``), !["experts", "routers"].includes(name), name);
    }
    assert(readme.endsWith("<!-- results: end -->\n\nThe end.\n"));

    // Anew: nothing moves. Results of other studies do not take the place of these.
    assertEquals((await publishResults({ root })).written, false);
    assertEquals(await Deno.readTextFile(`${root}/README.md`), readme);
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
    assertEquals(await Deno.readTextFile(`${root}/README.md`), readme);

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
    await Deno.writeTextFile(`${root}/README.md`, MARKS);
    await assertRejects(() => publishResults({ root, from: root }), InputError, "there is no studies.json");
    await Deno.writeTextFile(`${root}/README.md`, "nothing");
    await assertRejects(() => publishResults({ root }), InputError, "its marks are missing");
    assertEquals(await Deno.readTextFile(`${root}/README.md`), "nothing");
    assertThrows(
      () => withResults("<!-- results: end -->\n<!-- results: begin -->", "", "a page"),
      InputError,
    );
  }));
