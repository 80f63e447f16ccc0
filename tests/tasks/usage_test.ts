import { assert, assertEquals } from "@std/assert";
import { listFields, type Task } from "../../tasks/cli/command.ts";
import { hashes, inFolder, ROOT, smallRunAt, task, taskHere } from "./support.ts";

/** Names in the table that stand for a file or folder of that name in the folder of the test. */
const PLACES = /\b(FILE|FOLDER|FULL|NONE|OUT|OTHER|RUN|SCORES|TOKENS)\b/g;

interface Row {
  task: string;
  args: string[];
  code: number;
  message: string;
}

/** Reads the table of wrong usage. */
function rows(): Row[] {
  let task = "";
  return Deno.readTextFileSync(`${ROOT}tests/tasks/usage.txt`).split("\n").flatMap(
    (line): Row[] => {
      task = /^([\w-]+):$/.exec(line)?.[1] ?? task;
      const [, args, code, message] = /^ {2}(.*?) ?=(\d?)> (.+)$/.exec(line) ?? [];
      if (message === undefined) return [];
      const words = args.split(" ").filter(Boolean).map((word) =>
        word === "''" ? "" : word.replaceAll("·", " ")
      );
      return [{ task, args: words, code: Number(code || 2), message }];
    },
  );
}

/** Makes what the table's arguments name. */
async function makePlaces(folder: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/FILE`, "some text\n");
  await Deno.mkdir(`${folder}/FOLDER`);
  await Deno.mkdir(`${folder}/FULL`);
  await Deno.writeTextFile(`${folder}/FULL/mine.txt`, "mine");
  const { docs } = await smallRunAt(`${folder}/RUN`);
  await smallRunAt(`${folder}/OTHER`);
  await Deno.copyFile(docs, `${folder}/docs.jsonl`);
  for (const [name, of] of [["TOKENS", "tokens"], ["SCORES", "scores"]]) {
    const [block] = [...Deno.readDirSync(`${folder}/RUN/${of}`)].filter(({ isDirectory }) =>
      isDirectory
    );
    await Deno.copyFile(`${folder}/RUN/${of}/${block.name}/test.arrow`, `${folder}/${name}`);
  }
}

const taskOf = async (name: string): Promise<Task> => (await import(`../../tasks/${name}.ts`)).TASK;

/** Does a task in this process; gives its exit code and what it says, without the folder's name. */
async function usage(
  name: string,
  args: string[],
  folder: string,
): Promise<{ code: number; text: string }> {
  const { code, err } = await taskHere(
    name,
    args.map((word) => word.replace(PLACES, `${folder}/$1`)),
  );
  return { code, text: err.trimEnd().split("\n").at(-1)!.replaceAll(`${folder}/`, "") };
}

Deno.test("every task refuses wrong usage as the table says, and touches nothing", () =>
  inFolder(async (folder) => {
    await makePlaces(folder);
    const before = await hashes(folder);
    const wrong: unknown[] = [];
    for (const { task, args, code, message } of rows()) {
      const reported = await usage(task, args, folder);
      const isReported = reported.code === code && /^error: .*$/.test(reported.text) &&
        reported.text.includes(message);
      if (!isReported) {
        wrong.push({ task: `${task} ${args.join(" ")}`, reported, expected: { code, message } });
      }
    }
    assertEquals(wrong, []);
    assertEquals(await hashes(folder), before);
  }));

Deno.test("every task refuses flags and paths that it does not take, and values of another form", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/FILE`, "some text\n");
    const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    const names = Object.keys(tasks).filter((name) =>
      tasks[name].command?.includes(` tasks/${name}.ts`)
    );
    assertEquals([...new Set(rows().map(({ task }) => task))].sort(), names.sort());
    for (const name of names) {
      const { positional } = await taskOf(name);
      const fields = Object.values(listFields(await taskOf(name)));
      const numbers = fields.filter(({ form }) => form === "number" || form === "integer");
      const cases: [string[], string][] = [
        [["--no-such-flag"], "--no-such-flag is not"],
        [["-x"], "-x is not"],
        [["--json=maybe"], '--json as it takes no value but true or false: it is "maybe"'],
        [
          ["--log", "json", "--log", "text"],
          '--log as it must be given once: it is "json" and "text"',
        ],
        ...positional === undefined ? [[["a.txt"], '"a.txt" is none'] as [string[], string]] : [],
        ...numbers.map((
          { flag },
        ): [string[], string] => [[`--${flag}`, "many"], `--${flag} as it must be `]),
      ];
      for (const [args, message] of cases) {
        const { code, text } = await usage(name, args, folder);
        assert(code === 2 && text.includes(message), `${name} ${args.join(" ")}: ${code} ${text}`);
      }
    }
  }));

Deno.test("a task ends wrong usage with exit code 2 and one line on standard error", async () => {
  const { code, out, err } = await task("partition", ["--expert", "4"]);
  assertEquals([code, out], [2, ""]);
  assertEquals(
    err,
    'error: Cannot run task "partition" as every flag must be one of its own: --expert is not, the nearest is --experts, ' +
      'but tasks "train-expert", "generate", "export" and 1 more take --expert; see --help\n',
  );
});
