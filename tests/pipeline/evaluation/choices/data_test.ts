import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { findData, hashData, listData, readQuestions } from "../../../../pipeline/evaluation/choices/data.ts";
import { TASKS } from "../../../../pipeline/evaluation/choices/tasks.ts";
import { inFolder, ROOT } from "../../../tasks/support.ts";
import { GOLDEN } from "./golden.ts";

const lines = (documents: unknown[]) => documents.map((document) => `${JSON.stringify(document)}\n`).join("");
const docsOf = (name: string) => GOLDEN[name].map(({ doc }) => doc);

Deno.test("readQuestions() reads the same questions of JSON lines and of Parquet with nested columns", () =>
  inFolder(async (folder) => {
    for (const name of ["arc_easy", "piqa", "mmlu"]) {
      const [task, path] = [TASKS.get(name)!, `${folder}/${name}.jsonl`];
      await Deno.writeTextFile(path, lines(docsOf(name)));
      const expected = docsOf(name).map(task.ask);
      assertEquals(await readQuestions(path, task), expected);
      assertEquals(await readQuestions(`${ROOT}fixtures/zero_shot/${name}.parquet`, task), expected);
    }
  }));

Deno.test("findData() finds questions and what examples are taken from, by the names of their tasks", () =>
  inFolder(async (folder) => {
    const write = (name: string) => Deno.writeTextFile(`${folder}/${name}`, "x");
    await assertRejects(
      () => findData(folder, "sciq"),
      InputError,
      `its questions must be in "${folder}": there is neither sciq.jsonl nor sciq.parquet`,
    );
    await write("sciq.parquet");
    assertEquals(await findData(folder, "sciq"), {
      questions: `${folder}/sciq.parquet`,
      examples: undefined,
    });
    await write("sciq_few_shot.jsonl");
    const found = await findData(folder, "sciq");
    assertEquals(found.examples, `${folder}/sciq_few_shot.jsonl`);
    const hashes = await hashData(found);
    assertEquals([Object.keys(hashes), hashes.data === hashes.examples], [["data", "examples"], true]);
    assertEquals(await listData(folder, [...TASKS.keys()]), ["sciq"]);
    await write("sciq.jsonl"); // which is taken before Parquet
    assertEquals((await findData(folder, "sciq")).questions, `${folder}/sciq.jsonl`);
  }));

Deno.test("readQuestions() refuses what is damaged, cut in half or wrong, by file and line", () =>
  inFolder(async (folder) => {
    const path = `${folder}/arc_easy.jsonl`;
    const task = TASKS.get("arc_easy")!;
    const whole = lines(docsOf("arc_easy"));
    const [first, second] = docsOf("arc_easy") as { choices: Record<string, string[]> }[];
    const empty = { ...first, choices: { ...first.choices, text: ["a", "", "c", "d"] } };
    const cases: [string, string][] = [
      ["", `"${path}" as it must hold questions of arc_easy: it holds none`],
      [whole.slice(0, whole.length - 30), "every line must be JSON: invalid JSON on line 3"],
      [
        lines([first, { ...second, question: undefined }]),
        "line 2 as it must be a question of arc_easy: question",
      ],
      [lines([empty]), "no choice must be empty"],
    ];
    for (const [text, message] of cases) {
      await Deno.writeTextFile(path, text);
      const error = await assertRejects(() => readQuestions(path, task), InputError, message);
      assertEquals(error.where, path);
    }
    const parquet = `${folder}/arc_easy.parquet`;
    await Deno.copyFile(`${ROOT}fixtures/zero_shot/piqa.parquet`, parquet);
    await assertRejects(() => readQuestions(parquet, task), InputError, "row 0 as it must be a question of");
  }));
