import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";
import fc from "fast-check";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  type Document,
  readDocuments,
  type ReadOptions,
  readRecords,
} from "../../../pipeline/text/readers.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const read = (inputs: string[], options?: ReadOptions) =>
  Array.fromAsync(readDocuments(inputs, options));
const jsonLines = (documents: Partial<Document>[]) =>
  documents.map((document) => JSON.stringify(document) + "\n").join("");

/** Reads bytes as standard input. */
const pipe = (bytes: Uint8Array | Uint8Array[], options: ReadOptions = {}) =>
  read(["-"], {
    format: "jsonl",
    ...options,
    standardInput: ReadableStream.from(Array.isArray(bytes) ? bytes : [bytes]),
  });

const withFiles = (
  files: Record<string, string | Uint8Array>,
  work: (folder: string) => Promise<void>,
) =>
  inFolder(async (folder) => {
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeFile(
        `${folder}/${name}`,
        typeof content === "string" ? utf8(content) : content,
      );
    }
    await work(folder);
  });

async function assertMessage(reading: () => Promise<unknown>, ...parts: string[]) {
  const error = await assertRejects(reading, InputError);
  for (const part of parts) assertStringIncludes(error.message, part);
  assert(error.message.startsWith("Cannot read ") && !error.message.includes("\n"), error.message);
}

const DOCUMENTS = [{ text: "One.\n“Zwei” 小", source: "a" }, { text: "", source: "b" }, {
  text: "three",
  source: "",
}];

Deno.test("readDocuments() reads text files, a document each, in byte order of a pattern", () =>
  withFiles({ "b.txt": "b\n", "a.txt": "\ufeffa", "B.txt": "" }, async (folder) => {
    assertEquals(
      await read([`${folder}/*.txt`]),
      ["", "a", "b\n"].map((text) => ({ text, source: "" })),
    );
    assertEquals(
      (await read([`${folder}/b.txt`, `${folder}/*.txt`], { source: "x" })).map(({ text }) => text),
      ["b\n", "", "a"],
    );
    assertEquals((await read([`${folder}/b.txt`], { source: "x" }))[0].source, "x");
  }));

Deno.test("readDocuments() reads JSON lines however they come in chunks", async () => {
  const bytes = utf8(jsonLines(DOCUMENTS));
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
    const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
    const chunks = edges.slice(1).map((edge, i) => bytes.slice(edges[i], edge));
    assertEquals(await pipe(chunks, { sourceField: "source" }), DOCUMENTS);
  }));
});

Deno.test("readDocuments() reads JSON lines with blank lines, CRLF, a byte order mark and no last line break", async () => {
  const text = `\ufeff{"text":"a"}\r\n\n  \r\n{"body":0,"text":"b"}`;
  assertEquals(await pipe(utf8(text)), [{ text: "a", source: "" }, { text: "b", source: "" }]);
  assertEquals((await pipe(utf8(`{"text":"a\\ud800b"}`)))[0].text, "a\ufffdb"); // half a surrogate pair
});

Deno.test("readDocuments() takes text and source from the fields it is reported", async () => {
  const lines = `{"body":"a","domain":null}\n{"body":"b","domain":7}\n{"body":"c","domain":"x"}\n`;
  assertEquals(
    await pipe(utf8(lines), { textField: "body", sourceField: "domain", source: "none" }),
    [
      { text: "a", source: "none" },
      { text: "b", source: "7" },
      { text: "c", source: "x" },
    ],
  );
});

Deno.test("readDocuments() reads gzip and Zstandard", async () => {
  const lines = utf8(jsonLines(DOCUMENTS));
  const files = {
    "a.jsonl.gz": gzipSync(lines),
    "a.ndjson.zst": zstdCompressSync(lines),
    "a.txt.zst": zstdCompressSync(utf8("text")),
  };
  await withFiles(files, async (folder) => {
    for (const name of ["a.jsonl.gz", "a.ndjson.zst"]) {
      assertEquals(await read([`${folder}/${name}`], { sourceField: "source" }), DOCUMENTS);
    }
    assertEquals((await read([`${folder}/a.txt.zst`]))[0].text, "text");
    assertEquals(
      await pipe(files["a.jsonl.gz"], { format: "jsonl.gz", sourceField: "source" }),
      DOCUMENTS,
    );
    await assertMessage(
      () => pipe(files["a.jsonl.gz"].subarray(0, 60), { format: "jsonl.gz" }),
      "whole .gz data",
    );
  });
});

Deno.test("readDocuments() reads another writer's Parquet, whatever its compression", async () => {
  const expected = Array.from({ length: 10 }, (_, i) => ({
    text: `Document ${i}: naïve café 小.`,
    source: i % 3 === 2 ? "" : ["news", "code"][i % 2],
  }));
  for (const name of ["uncompressed", "snappy", "gzip", "zstd"]) {
    const path = `fixtures/documents/${name}.parquet`;
    assertEquals(await read([path], { sourceField: "source" }), expected);
    assertEquals(
      await read([path], { maxDocuments: 6, source: "x" }),
      expected.slice(0, 6).map(({ text }) => ({ text, source: "x" })),
    );
  }
});

Deno.test("readDocuments() names what is wrong with Parquet", async () => {
  const path = "fixtures/documents/zstd.parquet";
  const bytes = await Deno.readFile(path);
  const columns: Record<string, string> = {
    body: `it has "id", "text", "source"; name it with textColumn`,
    id: `column "id" must hold strings: in row 0 it is a number`,
    source: "in row 2 it is null",
  };
  for (const [textField, message] of Object.entries(columns)) {
    await assertMessage(() => read([path], { textField }), path, message);
  }
  const plain = await Deno.readFile("fixtures/documents/uncompressed.parquet");
  const text = Array.from(plain, (byte) => String.fromCharCode(byte)).join("").indexOf(
    "Document 3",
  );
  const latin = plain.with(text, 0xe9);
  const damage =
    "as it must be whole Parquet data: it is damaged, or written with what this reader lacks; copy it again,";
  const files: Record<string, [content: Uint8Array | string, message: string]> = {
    "cut.parquet": [
      bytes.slice(0, 1000),
      "whole Parquet data: it is cut short; copy or write it again",
    ],
    "damaged.parquet": [
      bytes.slice().fill(0x55, 60, 120),
      `damaged.parquet, row group 0 ${damage}`,
    ],
    "other.parquet": [
      "hello",
      "whole Parquet data: it is something else; rename it, or set format to what it is",
    ],
    "short.parquet": ["PAR1", damage],
    "latin.parquet": [
      latin,
      "latin.parquet, row group 0 as its text must be UTF-8: it has other bytes",
    ],
  };
  await withFiles(
    Object.fromEntries(Object.entries(files).map(([name, [content]]) => [name, content])),
    async (folder) => {
      for (const [name, [, message]] of Object.entries(files)) {
        await assertMessage(() => read([`${folder}/${name}`]), `${folder}/${name}`, message);
      }
    },
  );
});

Deno.test("readDocuments() names the line of what is wrong with JSON lines", async () => {
  const good = `{"text":"x"}\n`.repeat(16);
  const cases: [string, string][] = [
    [`{"text": "x"`, "invalid JSON on line 17: "],
    [`nonsense`, "invalid JSON on line 17: "],
    [`[1]`, "line 17 is an array"],
    [`null`, "line 17 is null"],
    [
      `{"body":"x","id":1}`,
      `must have a field "text": line 17 has "body", "id"; name it with textField`,
    ],
    [`{}`, "line 17 has none"],
    [`{"text":null}`, `field "text" must be a string: on line 17 it is null`],
    [`{"text":["x"]}`, "on line 17 it is an array"],
  ];
  for (const [line, message] of cases) {
    await assertMessage(() => pipe(utf8(good + line)), "Cannot read standard input", message);
  }
  await assertMessage(
    () => pipe(utf8(good), { sourceField: "domain" }),
    `line 1 has "text"; name it with sourceField`,
  );
});

Deno.test("readDocuments() names line and byte of invalid UTF-8", async () => {
  const line = utf8(`{"text":"é"}\n`); // 14 bytes
  const bad = Uint8Array.of(...line, ...line, 0x22, 0xff, 0x22, 0x0a);
  await assertMessage(() => pipe(bad), "must be UTF-8: invalid byte 0xff on line 3 (byte 29)");
  await assertMessage(() => pipe(bad, { format: "txt" }), "invalid byte 0xff on line 3 (byte 29)");
});

Deno.test("readDocuments() refuses a line, and a text file, beyond the limit without reading on", async () => {
  let chunks = 0;
  const endless = () => {
    chunks = 0;
    return new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(2 ** 20).fill(32 + 0 * chunks++)),
    });
  };
  for (const format of ["jsonl", "txt"]) {
    const reading = () => read(["-"], { format, standardInput: endless() });
    await assertMessage(reading, "must have at most 67108864 bytes");
    assert(chunks < 70);
  }
});

Deno.test("readDocuments() refuses input that is missing, empty, a folder or of unknown format", () =>
  withFiles({ "a.csv": "x", "e.txt": "", "e.jsonl": "\n" }, async (folder) => {
    const cases: [name: string, ...parts: string[]][] = [
      ["/no.txt", "no.txt", "there is no such file"],
      ["/*.md", "*.md", "no file matches"],
      ["", "there is none in"],
      ["/a.csv", "txt, jsonl, ndjson, parquet or arrow", "set format"],
      ["/e.*", `there is none in ${folder}/e.jsonl, ${folder}/e.txt`],
    ];
    for (const [name, ...parts] of cases) {
      await assertMessage(() => read([folder + name]), ...parts);
    }
    await assertMessage(() => read(["-"]), "set format");
    await assertMessage(() => pipe(utf8("x"), { format: "xml" }), `format is "xml"`);
    await assertMessage(() => pipe(utf8("x"), { format: "parquet" }), "it is standard input");
    await assertMessage(() => pipe(new Uint8Array()), "there is none in standard input");
    await assertMessage(() => read([]), "none is given");
    assertEquals((await read([`${folder}/a.csv`], { format: "txt" }))[0].text, "x");
  }));

Deno.test("readDocuments() stops at maxDocuments and cancels its source", async () => {
  let cancelled = false;
  let pulled = 0;
  const standardInput = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulled++;
      controller.enqueue(utf8(`{"text":"x"}\n`.repeat(10)));
    },
    cancel() {
      cancelled = true;
    },
  });
  assertEquals(
    (await read(["-"], { format: "jsonl", standardInput, maxDocuments: 25 })).length,
    25,
  );
  assert(cancelled);
  assert(pulled <= 5);
});

Deno.test("readDocuments() takes sources from paths, unless a field names them", () =>
  inFolder(async (folder) => {
    for (const name of ["news", "law"]) {
      await Deno.mkdir(`${folder}/${name}`);
      await Deno.writeTextFile(`${folder}/${name}/a.txt`, name);
      await Deno.writeTextFile(
        `${folder}/${name}/b.jsonl`,
        '{"text": "b", "source": "field"}\n{"text": "c", "source": null}\n',
      );
    }
    const sources = async (options: ReadOptions) =>
      (await read([`${folder}/*/*`], options)).map(({ source }) => source);
    assertEquals(await sources({ sourceFromPath: "" }), [
      "law",
      "law",
      "law",
      "news",
      "news",
      "news",
    ]);
    assertEquals(await sources({ sourceFromPath: "", sourceField: "source" }), [
      "law",
      "field",
      "law",
      "news",
      "field",
      "news",
    ]);
    assertEquals((await sources({ sourceFromPath: "{source}.*" })).slice(0, 2), ["a", "b"]);
  }));
Deno.test("readRecords() reads all fields of JSON lines and of Parquet, however deep, each with its place", () => {
  const lines = '{"a": 1, "b": {"c": ["x"]}}\n\n{"a": null}\n';
  return withFiles({ "a.jsonl": lines, "b.jsonl.gz": gzipSync(lines) }, async (folder) => {
    for (const name of ["a.jsonl", "b.jsonl.gz"]) {
      assertEquals(await Array.fromAsync(readRecords(`${folder}/${name}`)), [
        { record: { a: 1, b: { c: ["x"] } }, place: `${folder}/${name}, line 1` },
        { record: { a: null }, place: `${folder}/${name}, line 3` },
      ]);
    }
    const rows = await Array.fromAsync(readRecords(`${ROOT}fixtures/zero_shot/mmlu.parquet`));
    assertEquals(
      rows.map(({ place }) => place.slice(-6)),
      [", row 0", ", row 1"].map((place) => place.slice(-6)),
    );
    assertEquals(rows[1].record, { // whole numbers are numbers, not bigints
      question: "Which river runs through Cairo?",
      subject: "high_school_geography",
      choices: ["the Nile", "the Rhine", "the Volga", "the Ganges"],
      answer: 0,
    });
  });
});
