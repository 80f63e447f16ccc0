import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { parquetWriteBuffer } from "hyparquet-writer";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { inputFile } from "../../../pipeline/text/inputs.ts";
import { PLAIN_CHAT, readPairs } from "../../../pipeline/text/pairs.ts";
import { inFolder } from "../../tasks/support.ts";

const PAIRS = [
  { prompt: "river stone ", response: "water" },
  { prompt: "Größe? ", response: "東京", source: "support" },
];
const CHATS = [
  [{ role: "user", content: "a" }, { role: "assistant", content: " b" }],
  [
    { role: "system", content: "s" },
    { role: "user", content: "c" },
    { role: "assistant", content: " d" },
  ],
].map((messages) => ({ messages }));

const readFile = (path: string, template = PLAIN_CHAT) =>
  Array.fromAsync(readPairs([inputFile(path)], template));

const writeLines = (path: string, records: readonly unknown[]) =>
  Deno.writeTextFile(path, records.map((record) => JSON.stringify(record) + "\n").join(""));

Deno.test("readPairs() joins a prompt and its response, and tells where the prompt ends", () =>
  inFolder(async (folder) => {
    const path = `${folder}/pairs.jsonl`;
    await writeLines(path, [...PAIRS, ...CHATS]);
    assertEquals(await readFile(path), [
      { text: "river stone water", prompt: 12, source: "" },
      { text: "Größe? 東京", prompt: 7, source: "support" },
      { text: "a\n b", prompt: 2, source: "" },
      { text: "s\nc\n d", prompt: 4, source: "" },
    ]);
    const template = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}:";
    const chats = (await readFile(path, template)).slice(2);
    assertEquals(chats.map(({ text }) => text), ["[a]: b", "[s][c]: d"]);
  }));

Deno.test("readPairs() reads Parquet as it reads lines of JSON", () =>
  inFolder(async (folder) => {
    const [texts, chats] = [`${folder}/texts.parquet`, `${folder}/chats.parquet`];
    const columns = (["prompt", "response"] as const).map((name) => ({
      name,
      data: PAIRS.map((pair) => pair[name]),
    }));
    const messages = {
      name: "messages",
      data: CHATS.map(({ messages }) => messages),
      type: "JSON",
    } as const;
    await Deno.writeFile(texts, new Uint8Array(parquetWriteBuffer({ columnData: columns })));
    await Deno.writeFile(chats, new Uint8Array(parquetWriteBuffer({ columnData: [messages] })));
    await writeLines(`${folder}/pairs.jsonl`, [
      ...PAIRS.map(({ prompt, response }) => ({ prompt, response })),
      ...CHATS,
    ]);
    assertEquals(
      [...await readFile(texts), ...await readFile(chats)],
      await readFile(`${folder}/pairs.jsonl`),
    );
  }));

Deno.test("readPairs() refuses a line that is no pair, and a template that writes no plain text", () =>
  inFolder(async (folder) => {
    const path = `${folder}/pairs.jsonl`;
    const refusal = async (template?: string) =>
      wordText((await assertRejects(() => readFile(path, template), InputError)).what);
    const cases: [unknown, string][] = [
      [{ prompt: "a " }, "line 2, has no response"],
      [{ response: "b" }, "line 2, has no prompt"],
      [{ prompt: "", response: "b" }, "has no prompt"],
      [{ prompt: "a", response: 5 }, "has no response"],
      [{ messages: [{ role: "user", content: "a" }] }, "has no prompt"],
      [{ messages: "a" }, "has no prompt"],
    ];
    for (const [line, fact] of cases) {
      await writeLines(path, [PAIRS[0], line]);
      assertStringIncludes(await refusal(), fact);
    }
    await writeLines(path, CHATS);
    assertStringIncludes(await refusal("{{ bos_token }}a"), "it writes special tokens");
    assertStringIncludes(await refusal("{% if %}"), "it reports");
  }));
