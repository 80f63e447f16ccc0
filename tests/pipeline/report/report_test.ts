import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import { report } from "../../../pipeline/report/report.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { LIGHT } from "../../../pipeline/report/charts.ts";
import {
  EVALUATION,
  type Lock,
  MANIFEST,
  takeLock,
  writePages,
} from "../../../pipeline/graph/mod.ts";
import {
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import { words } from "../../../tasks/cli/wording.ts";
import { hashes, inFolder, task } from "../../tasks/support.ts";
import {
  changeEvaluation,
  evaluationOf,
  plotsOf,
  routedByOf,
  SHAPE,
  writeNode,
  writeRun,
} from "./support.ts";

const MIXTURE = ["mixture"];
const DENSE = ["dense", "dense-steps"];
const EXPERTS = ["e0", "e1", "e2", "e3"];
/** The plots of a whole run, and the colours of models in them. */
const COLOURS: Record<string, string[]> = {
  "em-nll": MIXTURE,
  "em-nmi": MIXTURE,
  "em-regret": MIXTURE,
  "em-shares": EXPERTS,
  shares: MIXTURE,
  "sources-by-expert": [],
  "training-loss-by-tokens": [...EXPERTS, ...DENSE],
  "training-loss-by-steps": [...EXPERTS, ...DENSE],
  "validation-loss-by-tokens": [...EXPERTS, ...DENSE],
  "validation-loss-by-steps": [...EXPERTS, ...DENSE],
  perplexity: [...MIXTURE, ...DENSE, "oracle"],
  gain: DENSE,
  segments: [...MIXTURE, ...DENSE],
  ...{
    "perplexity-by-source": [...MIXTURE, ...DENSE],
    "prefix-perplexity": [...MIXTURE, ...DENSE],
  },
  ...{ "prefix-agreement": MIXTURE, "margin-right": MIXTURE, "margin-loss": MIXTURE },
  ...{ "experts-together": MIXTURE, fallback: MIXTURE, overhead: MIXTURE },
};
const PLOTS = Object.keys(COLOURS);

/** Writes the page of a run and reads it. */
async function pageOf(run: string): Promise<string> {
  const { output } = await report({ run, words, onWarning: (message) => assert(false, message) });
  return await Deno.readTextFile(output);
}

const leftOf = (page: string) => PLOTS.filter((id) => !plotsOf(page).includes(id));

// deno-lint-ignore no-explicit-any
type Any = any;

Deno.test("report() writes every plot of a whole run with its numbers, and needs nothing from anywhere", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const page = await pageOf(run);
    const { code, err } = await task("report", ["--run", `${run}/.`]); // another process, and another name
    assertEquals(code, 0, err);
    assert(
      await Deno.readTextFile(`${run}/report.html`) === page,
      "the same run gives other bytes",
    );
    assertEquals(plotsOf(page), PLOTS);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    assertEquals(new Set(ids).size, ids.length, "ids must be unique");
    const texts = [
      "45.25",
      "52.13",
      "13.2% lower",
      "1.7% higher",
      "✓ holds",
      "✗ does not",
      "diverged",
    ];
    for (const text of [...texts, "an adapter"]) assertStringIncludes(page, text);
    assertFalse(page.includes('class="missing"'));
    assertFalse(
      /<script|<link(?! rel="icon" href="data:,")|<iframe|<object|@import|url\((?!#)/i.test(page),
    );
    assertEquals([...page.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, address]) => address), [
      "data:,",
    ]);
    assertStringIncludes(
      page,
      `content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src`,
    );
  }));

Deno.test("every plot draws a model in its own colour, and nothing else in it, at every width", () =>
  inFolder(async (run) => {
    await writeRun(run);
    await changeEvaluation(run, (own) => ({ ...own, routedBy: routedByOf(own) }));
    const expected: typeof COLOURS = { ...COLOURS, "routed-by": ["mixture", "random"] };
    const figures = [
      ...(await pageOf(run)).matchAll(/<figure class="\w+" id="plot-([\w-]+)".*?<\/figure>/gs),
    ];
    assertEquals(figures.length, Object.keys(expected).length);
    for (const [figure, id] of figures) {
      const pictures = figure.match(/<svg.*?<\/svg>/gs)!;
      assertEquals(pictures.length, figure.includes('class="narrow"') ? 2 : 1);
      for (const [i, svg] of pictures.entries()) {
        const used = svg.matchAll(/var\(--(mixture|dense|dense-steps|oracle|random|e\d)\)/g);
        assertEquals(
          [...new Set([...used].map(([, name]) => name))].sort(),
          expected[id].toSorted(),
          id,
        );
        for (const [, own] of svg.matchAll(/ id="([^"]*)"/g)) {
          assert(own.startsWith(i ? `${id}-n-` : `${id}-`));
        }
        for (const [, own] of svg.matchAll(/url\(#([^)]*)\)/g)) {
          assertStringIncludes(svg, ` id="${own}"`);
        }
        assertFalse(/class=|NaN|undefined/.test(svg), id);
      }
    }
  }));

Deno.test("report() leaves out what is not there, with the command that makes it, and refuses a folder of nothing", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const commands = async () =>
      (await report({ run, words })).missing.map(({ command }) => command?.split(" --run")[0]);
    assertEquals(await commands(), []);
    const steps: [path: string, command: string][] = [
      [EVALUATION, "deno task evaluate"],
      ["dense-steps", "deno task train-dense --match steps"],
      ["dense", "deno task train-dense"],
      ["experts/expert-01", "deno task train-expert --expert all"],
      ["partition/expert-02", "deno task partition"],
      ["partitioner", "deno task train-routers"],
    ];
    for (const [path, command] of steps) {
      await Deno.remove(`${run}/${path}`, { recursive: true });
      assert((await commands()).includes(command), command);
      assertStringIncludes((await pageOf(run)).replace(/<\/?span[^>]*>/g, ""), command);
    }
    await Deno.remove(`${run}/experts`, { recursive: true });
    await Deno.remove(`${run}/reproduction.json`);
    assertEquals(plotsOf(await pageOf(run)), ["overhead"]); // costs need no more than settings
    for (const { name } of await Array.fromAsync(Deno.readDir(run))) {
      if (name !== "config.json") await Deno.remove(`${run}/${name}`, { recursive: true });
    }
    await Deno.mkdir(`${run}/text`); // an attempt that failed leaves folders
    const { code, out, err } = await task("report", ["--run", run]);
    assertEquals([code, out], [2, ""], err);
    assertMatch(
      err,
      /^error: Cannot report on [^\n]*: it holds a configuration and nothing made with it; [^\n]*\n$/,
    );
    assertFalse(
      (await Array.fromAsync(Deno.readDir(run))).some(({ name }) => name === "report.html"),
    );
  }));

Deno.test("report() escapes what data says, on the page and in files of plots, which stand alone", () =>
  inFolder(async (run) => {
    const hostile = [
      "<script>alert(1)</script>",
      `"><img src=x onerror=alert(1)>`,
      "a\u0000b\u202ec",
      "",
      "'); datum.x",
    ];
    await writeRun(run, { ...SHAPE, sources: hostile });
    const { plots, output } = await report({
      run,
      output: `${run}/page.html`,
      plots: `${run}/plots`,
    });
    assertEquals(plots, PLOTS.map((id) => `${run}/plots/${id}.svg`));
    assertFalse(Object.keys(await hashes(run)).includes("report.html"));
    const [page, ...pictures] = await Promise.all(
      [output, ...plots].map((path) => Deno.readTextFile(path)),
    );
    for (const text of [page, ...pictures]) {
      assertFalse(
        /<script|<img|\son\w+=["x]/i.test(text.replace(/&lt;.*?&gt;/g, "")),
        "markup of a source got through",
      );
      // deno-lint-ignore no-control-regex
      assertFalse(/[\x00\u202e]/.test(text));
    }
    assertStringIncludes(page, "&lt;script&gt;alert(1)&lt;/script&gt;");
    assertStringIncludes(page, "(no source)");
    for (const svg of pictures) {
      assertMatch(svg, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" [^>]*><title/);
      assertStringIncludes(svg, `fill="${LIGHT.paper}"`);
      assertFalse(svg.includes("var(--"));
      const [, title] = /<title[^>]*>([^<]*)</.exec(svg)!;
      assert(svg.split(title).length > 2, "a picture shows its title");
    }
  }));

Deno.test("report() draws runs of one expert and one round, and of many experts and sources", async () => {
  for (const [experts, sources, rounds] of [[1, 1, 1], [33, 200, 94]]) {
    await inFolder(async (run) => {
      const names = Array.from({ length: sources }, (_, i) => `source ${i}`);
      await writeRun(run, { ...SHAPE, experts, rounds, sources: names });
      const page = await pageOf(run);
      assertFalse(/NaN|undefined|Infinity/.test(page.replace(/<style>.*?<\/style>/s, "")));
      assertEquals(page.includes("176 smaller ones are in the table only"), sources === 200);
    });
  }
});

Deno.test("report() leaves out the plots that a run has nothing for", async () => {
  const after = (id: string) => PLOTS.slice(PLOTS.indexOf(id), -1);
  const oneExpert = ["em-nmi", "em-regret", "em-shares", "shares", "sources-by-expert", "segments"];
  const cases: [left: string[], shape: Partial<typeof SHAPE>, change?: (value: Any) => unknown][] =
    [
      [[...oneExpert, ...after("prefix-perplexity")], { experts: 1 }],
      [["sources-by-expert", "perplexity-by-source"], { sources: [""] }],
      [
        ["gain"],
        {},
        ({ scores: { dense: _, "dense-steps": __, ...scores }, ...rest }) => ({
          ...rest,
          scores,
          gains: [],
        }),
      ],
      [
        [
          "segments",
          "perplexity-by-source",
          "margin-right",
          "margin-loss",
          "experts-together",
          "fallback",
        ],
        {},
        ({ reliability: _, mixing: _m, fallback: _f, segments, ...own }) => ({
          ...own,
          sources: [],
          segments: segments.map((one: object) => ({ ...one, perplexity: { mixture: null } })),
        }),
      ],
    ];
  for (const [left, shape, change] of cases) {
    await inFolder(async (run) => {
      await writeRun(run, { ...SHAPE, ...shape });
      if (change) await changeEvaluation(run, change);
      assertEquals(leftOf(await pageOf(run)), left);
    });
  }
  await inFolder(async (run) => {
    await writeRun(run);
    const { configuration } = (await readRunConfiguration(run))!;
    await writeRunConfiguration(run, {
      ...configuration,
      partitioner: "source",
      sourceField: "label",
    });
    // Labels choose.
    assertEquals(leftOf(await pageOf(run)), ["prefix-perplexity", "prefix-agreement"]);
  });
});

Deno.test("report() reports that an evaluation is no longer of the run, on the page and in its result", () =>
  inFolder(async (run) => {
    await writeRun(run); // of revisions of before
    const { output, outOfDate } = await report({ run, samples: 0, words });
    const evaluation = outOfDate.find(({ part }) => part === "evaluate");
    assertEquals(evaluation?.command, `deno task evaluate --run ${run} --force`);
    const page = await Deno.readTextFile(output);
    assertStringIncludes(page, "revision 1 made it");
    assert(page.indexOf('id="out-of-date"') < page.indexOf('id="evaluation"'));
    const lock = await takeLock(run, EVALUATION, "evaluate") as Lock;
    assertStringIncludes(await pageOf(run), "being made");
    lock.release();
  }));

Deno.test("report() refuses what is no run, and names the file that is damaged, and how to make it again", () =>
  inFolder(async (folder) => {
    const refuses = (run: string, message: string) =>
      assertRejects(() => report({ run }), InputError, message);
    await refuses(`${folder}/none`, "there is no such folder");
    await refuses(folder, "it has no config.json");
    const run = `${folder}/run`;
    const many = JSON.stringify({ ...evaluationOf(SHAPE), tokens: "many" });
    const damages: [node: string, file: string, text: string, reason: string, remedy: string][] = [
      [EVALUATION, "evaluation.json", "{", "JSON", `"evaluate" with run "${run}", check`],
      [EVALUATION, "evaluation.json", many, "tokens", `"evaluate" with run "${run}", check`],
      [
        "partitioner",
        "rounds.jsonl",
        `{"round":1}\n`,
        "line 1: nllPerToken",
        `"partition" with run`,
      ],
    ];
    for (const [node, file, text, reason, remedy] of damages) {
      await writeRun(run);
      const path = `${run}/${node}/${file}`;
      await Deno.writeTextFile(path, text);
      await refuses(run, `Cannot read "${path}" as it must be`);
      await writeNode(run, node, { files: { [file]: text } }); // so that its hash is right
      const error = await refuses(run, `Cannot read "${path}" as it must be`);
      assertStringIncludes(error.message, reason);
      assertStringIncludes(error.message, remedy);
      assertFalse(error.message.includes("\n"));
    }
    await writeRun(run);
    for (const [path, text] of [["reproduction.json", "{}"], [`tokens/0/${MANIFEST}`, "{}"]]) {
      await Deno.writeTextFile(`${run}/${path}`, text);
      await refuses(run, `Cannot read "${run}/${path}" as it must be`);
    }
    assertFalse(
      (await Array.fromAsync(Deno.readDir(run))).some(({ name }) => name.startsWith("report")),
    );
  }));

Deno.test("report() checks claims by the manifest of their pages, and heeds none of its own page", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const text = await Deno.readTextFile(`${run}/reproduction.json`);
    await Deno.remove(`${run}/reproduction.json`);
    await writePages(run, "report/reproduction", {
      "reproduction.json": text,
      "reproduction.md": "",
    });
    const { output } = await report({ run });
    assert((await Deno.lstat(output)).isSymlink); // verify looks after the page
    await Deno.writeTextFile(output, "changed");
    await report({ run });
    await Deno.writeTextFile(`${run}/reproduction.json`, text + "\n");
    await assertRejects(() => report({ run }), InputError, "it must be as it was made");
  }));

Deno.test("readRun() asks for few files of a folder at once, however many lie there", () =>
  inFolder(async (run) => {
    await writeRunConfiguration(run, defaultConfiguration());
    for (let i = 0; i < 100; i++) await writeNode(run, `split/${i}`, { files: { a: "a" } });
    const { lstat } = Deno;
    let asked = 0;
    let most = 0;
    Deno.lstat = async (path) => {
      most = Math.max(most, ++asked);
      return await lstat(path).finally(() => asked--);
    };
    try {
      await readRun(run);
    } finally {
      Deno.lstat = lstat;
    }
    assert(most > 1 && most <= 64, `${most} files at once`);
  }));
