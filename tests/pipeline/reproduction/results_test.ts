import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readStudies, studiesMarkdown, writeResults } from "../../../pipeline/reproduction/results.ts";
import { inFolder } from "../../tasks/support.ts";
import { outcome, setupsFor, study } from "./support.ts";

const RESULTS = ["assignment", "routers", "dense"].map((name) => ({
  study: study(name),
  findings: study(name).findings(setupsFor(name).map((setup) => outcome(setup))),
  adapters: ["an adapter", "another one"],
  runs: setupsFor(name).map(({ name }) => name),
}));

Deno.test("results are written for programs, as Markdown and as a page, which say the same", () =>
  inFolder(async (root) => {
    const settings = { corpus: "wide", corpusCharacters: 9000, prefixLengths: [8, 64] };
    await writeResults(root, RESULTS, { settings });
    const { studies, settings: told } = await readStudies(`${root}/studies.json`);
    assertEquals(studies.map(({ name }) => name), ["assignment", "routers", "dense"]);
    assertEquals(told, settings);
    assertEquals(studies[0].table.rows, RESULTS[0].findings.table.rows);
    assertEquals(studies[0].adapters, ["an adapter", "another one"]);
    assertEquals(studies[0].runs.length, setupsFor("assignment").length);
    const [markdown, page] = [
      await Deno.readTextFile(`${root}/reproduction.md`),
      await Deno.readTextFile(`${root}/report.html`),
    ];
    assertEquals(markdown, studiesMarkdown(RESULTS, settings));
    for (const text of [markdown, page]) {
      assertStringIncludes(text, "What a verdict takes");
      assertStringIncludes(text, "yes where its perplexity is lower beyond both intervals");
    }
    const words = page.replace(/<[^>]*>/g, " ").replace(/\s+/g, " ");
    assertStringIncludes(words, "claims of the paper do not hold 0 of 1");
    assertStringIncludes(words, "questions of our own are answered no 2 of 2");
    for (const text of [markdown, page]) {
      assertStringIncludes(text, "searches them: corpus wide, corpusCharacters 9000, prefixLengths 8,64.");
    }
    for (const { study, findings } of RESULTS) {
      for (const text of [markdown, page]) {
        assertStringIncludes(text, study.title);
        assertStringIncludes(text, "Evaluated on: an adapter; another one. One seed.");
      }
      assertStringIncludes(markdown, `| ${findings.table.rows[0].join(" | ")} |`);
      for (const { here } of findings.claims) assertStringIncludes(page, here);
      for (const text of [markdown, page]) assertStringIncludes(text, findings.note?.split(". ")[0] ?? "");
      await Deno.stat(`${root}/plots/${findings.plots[0].id}.svg`);
    }
    const seeds = RESULTS.map((result) => ({ ...result, runs: ["a-seed-0", "b-seed-0", "a-seed-1"] }));
    assertStringIncludes(studiesMarkdown(seeds), "another one. Up to 2 seeds of a run.");
    await Deno.writeTextFile(`${root}/studies.json`, "{}");
    await assertRejects(() => readStudies(`${root}/studies.json`), InputError, "results of studies");
  }));

Deno.test("studies.json comes last: what was interrupted before has none", () =>
  inFolder(async (root) => {
    const signal = AbortSignal.abort();
    await Deno.writeTextFile(`${root}/studies.json`, "that of a writing before");
    await assertRejects(() => writeResults(root, RESULTS, { signal }));
    await assertRejects(() => readStudies(`${root}/studies.json`), InputError);
  }));
