import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { readEvaluation } from "../pipeline/evaluation/evaluation.ts";
import { fieldsOf } from "../tasks/command.ts";
import { ROOT } from "./tasks/support.ts";

/** Lists the pages under a folder, by their paths in the project. */
function pagesIn(folder: string): string[] {
  return Array.from(Deno.readDirSync(`${ROOT}${folder}`)).flatMap(({ name, isDirectory }) =>
    isDirectory ? pagesIn(`${folder}/${name}`) : name.endsWith(".md") ? [`${folder}/${name}`] : []
  );
}

const PAGES = ["README.md", "CHANGELOG.md", ...["pipeline", "kernels", "tasks", "tests"].flatMap(pagesIn)];
const textOf = (page: string) => Deno.readTextFileSync(`${ROOT}${page}`);

/** Gives the anchors of a page's headings as GitHub makes them. */
function anchorsOf(page: string): string[] {
  const headings = [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading);
  return headings.map((heading) => heading.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-"));
}

Deno.test("every link of a page leads to a file, and to a heading where it names one", async () => {
  const links = PAGES.flatMap((page) =>
    [...textOf(page).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(([, path, anchor]) => ({
      from: page,
      to: path === "" ? page : join(dirname(page), path),
      anchor,
    }))
  );
  assert(links.length > 30);
  for (const { from, to, anchor } of links) {
    assert(await Deno.stat(`${ROOT}${to}`).then(() => true, () => false), `${from} leads to ${to}`);
    if (anchor !== undefined) assert(anchorsOf(to).includes(anchor), `${from} leads to ${to}#${anchor}`);
  }
});

Deno.test("every file and folder of the project that a page names is there", async () => {
  const pages = PAGES.filter((page) => page !== "CHANGELOG.md"); // which tells of what is gone as well
  const named = pages.flatMap((page) =>
    [...textOf(page).matchAll(/`((?:kernels|pipeline|tasks|tests|fixtures)\/[\w./-]*)`/g)]
      .map(([, path]) => ({ page, path }))
  );
  assert(named.length > 25);
  for (const { page, path } of named) {
    assert(await Deno.stat(`${ROOT}${path}`).then(() => true, () => false), `${page} names ${path}`);
  }
});

Deno.test("README.md leads to every page", () => {
  const readme = textOf("README.md");
  const other = PAGES.filter((page) => page !== "README.md" && !readme.includes(`](${page})`));
  assertEquals(other, []);
});

Deno.test("every task and every flag in the commands of the pages is there", async () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const commands = PAGES.flatMap((page) => {
    const text = textOf(page).replace(/\s*\\\n\s*/g, " ");
    return [...text.matchAll(/(?:deno task|tasks\/setup\.sh) ([a-z][a-z:-]*)([^|`\n]*)/g)].map(
      ([, name, rest]) => ({
        page,
        name,
        flags: [...rest.matchAll(/ --([a-z-]+)/g)].map(([, flag]) => flag),
      }),
    );
  });
  assert(commands.length > 40);
  for (const { page, name, flags } of commands) {
    assert(name in tasks, `${page}: deno task ${name}`);
    if (!tasks[name].command.includes(`tasks/${name}.ts`)) continue; // benchmarks and tests have no table of flags
    const fields = Object.values(fieldsOf((await import(`../tasks/${name}.ts`)).TASK));
    const known = [...fields.map(({ flag }) => flag), "help"];
    for (const flag of flags) assert(known.includes(flag!), `${page}: deno task ${name} --${flag}`);
  }
});

Deno.test("README.md is what a newcomer can read at once", () => {
  const results = /^<!-- results: begin[^]*^<!-- results: end -->$/m; // most of which is folded
  assert(textOf("README.md").replace(results, "").split("\n").length <= 95);
});

Deno.test("README.md says of its five commands what they came to when they were run, as their evaluation is kept", async () => {
  const { scores, gains } = await readEvaluation(`${ROOT}fixtures/reproduction/walk/evaluation.json`);
  const { percent, low, high } = gains.find(({ baseline }) => baseline === "dense")!;
  const [by, from, to] = [percent, low, high].map((value) => `${value.toFixed(0)}%`);
  const [mixture, dense] = [scores.mixture!, scores.dense!].map(({ perplexity }) => perplexity.toFixed(1));
  const said = textOf("README.md").replaceAll(/\s+/g, " ");
  assertStringIncludes(
    said,
    `perplexity is ${mixture}, ${by} [${from}, ${to}] lower than the ${dense} of the dense model`,
  );
});
