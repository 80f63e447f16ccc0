import { assert, assertEquals, assertFalse, assertMatch } from "@std/assert";
import { FIELDS } from "../mod.ts";
import { fieldsOf } from "../tasks/command.ts";
import { ROOT } from "./tasks/support.ts";

/** Lists the TypeScript files under a folder, by their paths in the project. */
function sources(folder: string): string[] {
  return Array.from(Deno.readDirSync(`${ROOT}${folder}`)).flatMap(({ name, isDirectory }) =>
    isDirectory ? sources(`${folder}/${name}`) : name.endsWith(".ts") ? [`${folder}/${name}`] : []
  );
}

/** Gives the text of a file without its comments. */
function codeOf(file: string): string {
  const text = Deno.readTextFileSync(`${ROOT}${file}`);
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, "").replace(/(^|\s)\/\/.*$/gm, "");
}

// What stands in for @std is not ours to word.
const FILES = [...sources("kernels"), ...sources("pipeline")].filter((file) =>
  !file.startsWith("pipeline/std/")
);
const CODE = new Map(FILES.map((file) => [file, codeOf(file)]));

/** Lists every match, "file: match", but in files that are excepted. */
function found(pattern: RegExp, excepted: string[] = []): string[] {
  for (const file of excepted) assert(pattern.test(CODE.get(file)!), `${file} needs no exception`);
  return FILES.filter((file) => !excepted.includes(file)).flatMap((file) =>
    [...CODE.get(file)!.matchAll(new RegExp(pattern, "g"))].map(([match]) => `${file}: ${match.trim()}`)
  );
}

/** Files whose dashes are no flag of a task. */
const OTHER_DASHES = [
  "pipeline/report/page.ts", // names of colours in CSS: var(--ink)
  "pipeline/report/theme.ts",
  "pipeline/text/garbage.ts", // a flag of V8
];

Deno.test("pipeline/ and kernels/ spell no command and no flag: they name tasks and settings", () => {
  assertEquals(found(/deno task/), []);
  const flag = /(?<![\w)\]])--[a-z$][\w-]*(?!\w*\[)/; // no decrement: i-- or --room[i]
  for (const text of ['"--prefix"', "'set --top-k.'", "`--${name}`"]) assertMatch(text, flag);
  for (const code of ["i--", "if (--room[i] === 0)"]) assertFalse(flag.test(code));
  assertEquals(found(flag, OTHER_DASHES), []);
});

/** Files that shorten what a library or the system says, for a message of their own; none decides anything by it. */
const SHORTENED = [
  "pipeline/run/files.ts", // leaves out the number of the system's error, and puts excerpts on one line
  "pipeline/text/readers.ts", // puts an excerpt of JSON on one line
  "pipeline/text/tokenizer.ts", // takes the first line of what the tokenizers library says
];

Deno.test("no code of pipeline/ and kernels/ looks into an error's message", () => {
  const calls =
    /\.message\s*\.(?:includes|match|matchAll|startsWith|endsWith|search|indexOf|split|replace)\b/;
  assertEquals(found(calls, SHORTENED), []);
  assertEquals(found(/\.(?:test|exec|match)\([^()]*\.message\b/), []);
  assertEquals(found(/\.message\s*[!=]==|[!=]==\s*\w+\.message\b/), []);
});

Deno.test("every setting and every task that a message names is there", async () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const names = new Set(Object.keys(FIELDS));
  for (const name of Object.keys(tasks).filter((name) => tasks[name].command.includes(`tasks/${name}.ts`))) {
    for (const key of Object.keys(fieldsOf((await import(`../tasks/${name}.ts`)).TASK))) names.add(key);
  }
  const named = (kind: string) =>
    FILES.flatMap((file) =>
      [...CODE.get(file)!.matchAll(new RegExp(`\\b${kind}\\("([^"]+)"`, "g"))].map(([, name]) => ({
        file,
        name,
      }))
    );
  const settings = named("setting");
  assert(settings.length > 30 && settings.some(({ name }) => name === "run"));
  assertEquals(settings.filter(({ name }) => !names.has(name)), []);
  assertEquals(named("task").filter(({ name }) => !(name in tasks)), []);
});
