import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { openEncoders } from "../../../pipeline/text/encoders.ts";
import { loadTokenizer, type Tokenizer } from "../../../pipeline/text/tokenizer.ts";
import { byteSymbols } from "../../../pipeline/text/bpe.ts";
import { execute, inFolder, ok } from "../../tasks/support.ts";

const vocab = Object.fromEntries(
  [...byteSymbols(), "th", "the", "<stop>"].map((symbol, id) => [symbol, id]),
);
const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
/**
 * A tokenizer that cuts at words, so that it keeps a table of them; its end of a document has no
 * usual name.
 */
const BYTES = {
  version: "1.0",
  added_tokens: [],
  pre_tokenizer: level,
  model: { type: "BPE", vocab, merges: ["t h", "th e"] },
};
/** One that knows two words and nothing else. */
const WORDS = {
  version: "1.0",
  added_tokens: [],
  pre_tokenizer: { type: "Whitespace" },
  model: { type: "WordLevel", vocab: { "<stop>": 0, sea: 1, wind: 2 }, unk_token: "[UNK]" },
};

async function opened(json: unknown, test: (tokenizer: Tokenizer) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(json));
    await test(await loadTokenizer(`${folder}/tokenizer.json`, { eos: "<stop>" }));
  });
}

const calls = Array.from(
  { length: 40 },
  (_, i) => [`the ${i} thermal naïve 日本 the<stop>`, "", `${"word ".repeat(i)}${i % 3}`],
);

Deno.test("openEncoders() gives on any number of threads the ids of the tokenizer, in the order of the calls", () =>
  opened(BYTES, async (tokenizer) => {
    const expected = await Promise.all(calls.map((texts) => tokenizer.encode(texts)));
    for (const [workers, alone] of [[1, 0], [2, 0], [3, 500]] as const) {
      let here = 0; // calls that this thread encodes
      const counted: Tokenizer = {
        ...tokenizer,
        encode(texts, onOneCore) {
          here++;
          assertEquals(onOneCore, workers === 1);
          return tokenizer.encode(texts, onOneCore);
        },
      };
      const encoders = openEncoders(counted, workers, alone);
      const encoded = calls.map((texts) => encoders.encode(texts));
      if (workers > 2) await encoders.close(); // once what is in hand is answered
      assertEquals(await Promise.all(encoded), expected);
      if (workers === 1) assertEquals(here, calls.length);
      else if (alone === 0) assertEquals(here, 0);
      else assert(here > 0 && here < calls.length, `${here}`);
      await encoders.close();
    }
  }));

Deno.test("openEncoders() throws what the tokenizer says of a text that it cannot encode, and goes on", () =>
  opened(WORDS, async (tokenizer) => {
    const encoders = openEncoders(tokenizer, 2, 0);
    const bad = encoders.encode(["sea", "salt"]);
    const good = encoders.encode(["wind sea"]);
    const error = await assertRejects(() => bad, InputError);
    const own = await assertRejects(() => tokenizer.encode(["sea", "salt"]), InputError);
    const onOneCore = await assertRejects(
      () => tokenizer.encode(["sea", "salt"], true),
      InputError,
    );
    assertEquals([onOneCore.what, onOneCore.where], [own.what, own.where]);
    assertEquals([error.what, error.where], [own.what, own.where]);
    assertEquals((await good).map((ids) => [...ids]), [[2, 1]]);
    await encoders.close();
  }));

/**
 * Stands in for a thread: it leaves all encoding to the main thread, and ends when it is asked to.
 */
class MortalWorker {
  static all: MortalWorker[] = [];
  onmessage?: (event: { data: null }) => void;
  onerror?: (event: ErrorEvent) => void;
  #isDead = false;

  constructor() {
    MortalWorker.all.push(this);
  }
  postMessage(order: unknown): void {
    if (!this.#isDead && Array.isArray(order)) {
      queueMicrotask(() => this.onmessage!({ data: null }));
    }
  }
  die(message: string): void {
    this.#isDead = true;
    this.onerror!(new ErrorEvent("error", { message }));
  }
  terminate(): void {}
}

Deno.test("openEncoders() throws why a thread ended, also in calls that come after", () =>
  opened(BYTES, async (tokenizer) => {
    const { Worker } = globalThis;
    globalThis.Worker = MortalWorker as unknown as typeof Worker;
    try {
      const encoders = openEncoders(tokenizer, 2, 0);
      assertEquals(await encoders.encode(["the"]), await tokenizer.encode(["the"]));
      for (const worker of MortalWorker.all) worker.die("no memory is left"); // while nothing waits
      await assertRejects(() => encoders.encode(["the"]), Error, "no memory is left");
      await encoders.close();
    } finally {
      globalThis.Worker = Worker;
    }
  }));

/** Runs a script in a process of its own, and gives what it prints on standard output. */
async function printed(script: string): Promise<string> {
  const args = ["run", "--no-prompt", "--allow-ffi", "--allow-read", "--ext=js", "-"];
  return (await ok(execute(Deno.execPath(), args, { input: script }))).out;
}

Deno.test("returnLargeBlocks() keeps blocks of a megabyte apart from the heap after a larger one was freed", async () => {
  const mappedBlocks = (first: string) =>
    printed(`
      import { returnLargeBlocks } from "./pipeline/text/encoders.ts";
      const { symbols: { malloc, free, mallinfo2 } } = Deno.dlopen("libc.so.6", {
        malloc: { parameters: ["usize"], result: "pointer" },
        free: { parameters: ["pointer"], result: "void" },
        mallinfo2: { parameters: [], result: { struct: Array(10).fill("usize") } },
      });
      const mapped = () => new BigUint64Array(mallinfo2().buffer)[3];
      ${first}
      free(malloc(16n << 20n));
      const before = mapped();
      const block = malloc(1n << 20n);
      console.log(String(mapped() - before));
      free(block);
    `);
  if (Deno.build.os !== "linux") return;
  assertEquals(await mappedBlocks(""), "0\n");
  assertEquals(await mappedBlocks("returnLargeBlocks();"), "1\n");
});
