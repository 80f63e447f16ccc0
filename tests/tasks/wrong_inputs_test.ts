import { assert, assertEquals } from "@std/assert";
import { parquetWriteBuffer } from "hyparquet-writer";
import { hashes, inFolder, lastOfEach, SMALL, smallRunAt, taskHere } from "./support.ts";

/** What is wrong: a file with its content, a task with it as FILE, and words of what is said. */
type Wrong = [file: string, content: string | Uint8Array, task: string, text: string];

const bytes = (...values: number[]) => Uint8Array.from(values);
const lines = (...records: unknown[]) =>
  records.map((record) => JSON.stringify(record) + "\n").join("");
const noise = Uint8Array.from({ length: 3000 }, (_, i) => (i * i * 7919 + 31 * i) >> 3 & 255);
const parquet = (name: string, data: unknown[]) =>
  new Uint8Array(parquetWriteBuffer({ columnData: [{ name, data, type: "STRING" }] }));
const whole = parquet("text", ["some text", "and more"]);

const PARTITION = "partition --run OUT --input FILE";
const ADD = "derive --from RUN --run OUT --add FILE";
const NEW = "derive --from RUN --run OUT --new-expert FILE";
const TUNE = "tune --from RUN --run OUT --input FILE";
const AGAINST = "overlap --run RUN --against FILE";

const WRONG: Wrong[] = [
  ["empty.txt", "", PARTITION, "there must be text: there is none in FOLDER/empty.txt"],
  ["blank.jsonl", lines({ text: "" }, { text: "" }), PARTITION, "there must be some text"],
  ["cut.jsonl", '{"text":"some text"}\n{"text":"so', PARTITION, "invalid JSON on line 2"],
  ["array.jsonl", "[1, 2]\n", PARTITION, "every line must be a JSON object: line 1 is an array"],
  ["number.jsonl", lines({ text: 5 }), PARTITION, "number.jsonl as"],
  ["null.jsonl", lines({ text: null }), PARTITION, "null.jsonl as"],
  [
    "body.jsonl",
    lines({ body: "some text" }),
    PARTITION,
    'line 1 has "body"; name it with --text-field',
  ],
  [
    "latin1.txt",
    bytes(0x63, 0x61, 0x66, 0xe9, 0x20, 0x61),
    PARTITION,
    "invalid byte 0xe9 on line 1 (byte 3)",
  ],
  [
    "utf16.txt",
    bytes(0xff, 0xfe, 0x61, 0, 0x62, 0),
    PARTITION,
    "it must be UTF-8: invalid byte 0xff",
  ],
  [
    "binary.txt",
    bytes(0x61, 0, 0x62, 0, 0, 0xff),
    PARTITION,
    "invalid byte 0xff on line 1 (byte 5)",
  ],
  [
    "noise.parquet",
    noise,
    PARTITION,
    "whole Parquet data: it is something else; rename it, or set --format",
  ],
  [
    "cut.parquet",
    whole.slice(0, whole.length >> 1),
    PARTITION,
    "it is cut short; copy or write it again",
  ],
  [
    "body.parquet",
    parquet("body", ["some text"]),
    PARTITION,
    'it has "body"; name it with --text-column',
  ],
  ["noise.arrow", noise, PARTITION, "it must be an Arrow stream or file: it is something else"],
  [
    "cut.txt.gz",
    bytes(31, 139, 8, 0, 1),
    PARTITION,
    "it must be whole .gz data: unexpected end of file",
  ],
  ["plain.txt.gz", "some text", PARTITION, "it must be whole .gz data: incorrect header check"],
  ["noise.txt.zst", noise, PARTITION, "it must be whole .zst data"],
  ["text.docx", noise, PARTITION, "its name has no such ending; rename it, or set --format"],
  [
    "table.csv",
    "text,source\nsome text,a\n",
    PARTITION,
    "its name has no such ending; rename it, or set --format",
  ],
  [
    "docs.jsonl",
    lines({ text: "some text" }),
    `${PARTITION} --source-field kind`,
    'every line must have a field "kind"',
  ],
  [
    "docs.jsonl",
    lines({ text: "a b" }),
    `${PARTITION} --text-field kind`,
    'every line must have a field "kind"',
  ],
  [
    "short.txt",
    "some text",
    PARTITION,
    "it supports 264; set --vocab-size to 264 or less, or give more text",
  ],
  ["one.txt", "some text", `${PARTITION} --source-from-path nowhere`, "must hold {source} once"],
  [
    "tokenizer.json",
    "{}",
    "partition --run OUT --input DOCS --tokenizer FILE",
    "it must be in the Hugging Face format",
  ],
  [
    "config.json",
    '{"expert": 4}',
    "partition --run OUT --input DOCS --config FILE",
    '"expert" is none',
  ],
  [
    "config.json",
    '{"experts": "four"}',
    "partition --run OUT --input DOCS --config FILE",
    'it is "four"',
  ],
  [
    "config.json",
    '{"experts": 4',
    "partition --run OUT --input DOCS --config FILE",
    "it must be a JSON object",
  ],
  ["docs.txt", "some text", `${PARTITION} --partitioner source`, "there must be labels"],
  [
    "leak.jsonl",
    "",
    "partition --run OUT --input DOCS --decontaminate FILE",
    "it must hold text: it holds none",
  ],
  ["empty.txt", "", ADD, "there must be text: there is none in FOLDER/empty.txt"],
  [
    "cut.jsonl",
    `${lines({ text: "some text", source: "sea" })}{"text":"so`,
    ADD,
    "invalid JSON on line 2",
  ],
  ["noise.parquet", noise, ADD, "it must be whole Parquet data: it is something else; rename it"],
  ["binary.txt", bytes(0x61, 0, 0x62, 0, 0, 0xff), ADD, "invalid byte 0xff on line 1 (byte 5)"],
  ["cut.txt.gz", bytes(31, 139, 8, 0, 1), NEW, "it must be whole .gz data: unexpected end of file"],
  ["empty.jsonl", "", NEW, "there must be text: there is none in FOLDER/empty.jsonl"],
  [
    "ids.txt",
    "12 34 many",
    "derive --from RUN --run OUT --forget-ids FILE",
    'must be numbers: one is "many"',
  ],
  [
    "ids.txt",
    "12345",
    "derive --from RUN --run OUT --forget-ids FILE",
    "no document has the id 12345; deno task show",
  ],
  [
    "model.safetensors",
    noise,
    "derive --from RUN --run OUT --replace-expert 0=FILE",
    "a model is a folder of config.json and model.safetensors",
  ],
  ["pairs.jsonl", lines({ prompt: "a" }), TUNE, "line 1, has no response"],
  ["pairs.jsonl", lines({ prompt: 1, response: "b" }), TUNE, "line 1, has no prompt"],
  ["pairs.jsonl", lines({ messages: [] }), TUNE, "line 1, has no prompt"],
  [
    "pairs.jsonl",
    '{"prompt":"a ","response":"b',
    TUNE,
    "every line must be JSON: invalid JSON on line 1",
  ],
  ["pairs.jsonl", "", TUNE, "there must be pairs to tune it on: the files hold none"],
  ["noise.parquet", noise, AGAINST, "it is something else; name JSON lines, Parquet or text"],
  ["cut.jsonl", '{"question":"so', AGAINST, "invalid JSON on line 1"],
  ["empty.jsonl", "", AGAINST, "it must hold text: it holds none"],
  ["noise.json", noise, "verify RUN --against FILE", "it must be what a partition printed as JSON"],
  ["noise.arrow", noise, "show FILE", "it must be an Arrow stream or file: it is something else"],
  [
    "config.json",
    "{",
    "adopt --run RUN --expert 0 --from FOLDER",
    'config.json" as it must be a JSON object',
  ],
  [
    "noise.arrow",
    noise,
    "score FILE --routers RUN/partitioner",
    "it must be an Arrow stream or file",
  ],
];

/** What tells which files were seen, and how long stages took. */
const NOTES = /\/(text\/files\.json|metrics\/timing\.jsonl)$/;

/** Hashes all files of a folder, but notes. */
const hashesIn = async (folder: string) =>
  Object.fromEntries(
    Object.entries(await hashes(folder)).filter(([path]) => !NOTES.test(path)),
  );

Deno.test("every wrong input ends with one line that says what is wrong, and exit code 2, and leaves nothing", () =>
  inFolder(async (folder) => {
    const { docs } = await smallRunAt(`${folder}/RUN`);
    await Deno.copyFile(docs, `${folder}/DOCS.jsonl`);
    const before = await hashesIn(folder);
    const wrong: unknown[] = [];
    for (const [file, content, call, text] of WRONG) {
      await Deno.mkdir(`${folder}/FOLDER`);
      const data = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(`${folder}/FOLDER/${file}`, data);
      const [task, ...words] = call.split(" ");
      const args = words.map((word) =>
        word.replace(/\b(RUN|OUT|FOLDER)\b/, `${folder}/$1`).replace("DOCS", `${folder}/DOCS.jsonl`)
          .replace("FILE", `${folder}/FOLDER/${file}`)
      );
      const more = task === "partition" && !call.includes("--config") ? SMALL.slice(0, -2) : [];
      const { code, out, err } = await taskHere(task, lastOfEach([...more, ...args]));
      const said = err.trimEnd().split("\n").at(-1)!.replaceAll(`${folder}/`, "");
      await Deno.remove(`${folder}/FOLDER`, { recursive: true });
      const left = Object.keys(await hashesIn(folder)).filter((path) =>
        !(path in before) && path !== "OUT/config.json"
      );
      await Deno.remove(`${folder}/OUT`, { recursive: true }).catch(() => {});
      const isRight = code === 2 && out === "" && /^error: [^\n]+$/.test(said) &&
        said.includes(text) && left.length === 0;
      if (!isRight) wrong.push({ call: `${file}: ${call}`, code, said, left });
    }
    assertEquals(wrong, []);
    assertEquals(await hashesIn(folder), before);
    assert(WRONG.length >= 45);
  }));
