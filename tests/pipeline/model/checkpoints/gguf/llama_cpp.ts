/**
 * A program that opens a GGUF file with llama.cpp, on the processor: it reads a {@link Request} as
 * JSON from standard input and prints an {@link Answer}. Tests run it by {@linkcode askLlamaCpp} in
 * a process of its own, which native code may end. The package has llama.cpp's libraries alone;
 * node-llama-cpp, whose part it is, would bring a hundred others.
 *
 * @module
 */

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { execute } from "../../../../tasks/support.ts";

/** What to do with a file. */
export interface Request {
  /** Path of the file. */
  file: string;
  /** Texts to encode, without special tokens. */
  texts?: string[];
  /** Sequences of ids, whose tokens are scored. */
  sequences?: number[][];
  /** Sequences of ids to continue greedily, by 64 tokens. */
  prompts?: number[][];
}

/** What llama.cpp makes of it. */
export interface Answer {
  /** Architecture and number type. */
  description: string;
  /** The id of the token that ends a text. */
  eos: number;
  /** Whether llama.cpp puts a token before or behind a text by itself. */
  adds: { bos: boolean; eos: boolean };
  /** Ids of every text. */
  ids: number[][];
  /** Log-probabilities of all tokens of every sequence but the first. */
  logProbabilities: number[][];
  /** The tokens that continue every prompt. */
  continuations: number[][];
}

/** Whether llama.cpp's libraries are there for this machine. */
export const hasLlamaCpp = Deno.build.os === "linux" && Deno.build.arch === "x86_64";

const NEW_TOKENS = 64;

/** Attention in f32: by itself llama.cpp rounds queries, keys and values to f16. */
const EXACT = { flashAttention: false, kvCacheKeyType: 0, kvCacheValueType: 0 };

/** Runs this program. */
export async function askLlamaCpp(request: Request): Promise<Answer> {
  const args = ["run", "--quiet", "--no-prompt", "-A", fileURLToPath(import.meta.url)];
  const { code, out, err } = await execute(Deno.execPath(), args, {
    input: JSON.stringify(request),
  });
  if (code !== 0) throw new Error(`llama.cpp ended with ${code}: ${err}`);
  return JSON.parse(out);
}

/** Converts logits to log-probabilities, in f64. */
function logSoftmax(logits: Float64Array): Float64Array {
  const peak = logits.reduce((a, b) => Math.max(a, b));
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - peak), 0);
  return logits.map((logit) => logit - peak - Math.log(total));
}

async function answer(
  { file, texts = [], sequences = [], prompts = [] }: Request,
): Promise<Answer> {
  const { getBinsDir } = await import("npm:@node-llama-cpp/linux-x64@3.22.1");
  const folder = `${getBinsDir().binsDir}/linux-x64`;
  const addon = createRequire(import.meta.url)(`${folder}/llama-addon.node`);
  addon.setLogger((_: number, message: string) => console.error(message.trimEnd()));
  addon.setLoggerLogLevel(3); // warnings
  addon.loadBackends(folder);
  await addon.init();
  const model = new addon.AddonModel(file, { gpuLayers: 0, checkTensors: true });
  if (!await model.init()) throw new Error(`llama.cpp cannot open "${file}"`);
  const longest = Math.max(
    1,
    ...sequences.map(({ length }) => length),
    ...prompts.map(({ length }) => length + NEW_TOKENS),
  );
  const context = new addon.AddonContext(model, {
    contextSize: longest,
    batchSize: longest,
    sequences: 1,
    logitsAll: true,
    threads: 1,
    ...EXACT,
  });
  if (!await context.init()) throw new Error("llama.cpp cannot make a context");
  const greedy = new addon.AddonSampler(model);
  greedy.applyConfig({ temperature: 0 });

  /** Reads tokens from a position on, and gives the places of the logits after each. */
  const read = async (tokens: number[], position: number): Promise<number[]> => {
    context.initBatch(tokens.length);
    const all = Uint32Array.from(tokens.keys());
    const places = context.addToBatch(0, position, Uint32Array.from(tokens), all);
    await context.decodeBatch();
    return [...places];
  };
  const score = async (tokens: number[]): Promise<number[]> => {
    context.disposeSequence(0);
    const places = await read(tokens, 0);
    const scores: number[] = [];
    for (let i = 1; i < tokens.length; i++) {
      const sampled = await context.sampleToken(places[i - 1], greedy, false, false, true, false);
      const pairs: number[] = sampled[3]; // id, logit, id, logit, …
      const logits = new Float64Array(pairs.length / 2);
      for (let at = 0; at < pairs.length; at += 2) logits[pairs[at]] = pairs[at + 1];
      scores.push(logSoftmax(logits)[tokens[i]]);
    }
    return scores;
  };
  const continueGreedily = async (prompt: number[]): Promise<number[]> => {
    context.disposeSequence(0);
    const tokens: number[] = [];
    let place = (await read(prompt, 0)).at(-1)!;
    while (tokens.length < NEW_TOKENS) {
      const token: number = await context.sampleToken(place, greedy);
      [place] = await read([token], prompt.length + tokens.length);
      tokens.push(token);
    }
    return tokens;
  };
  return {
    description: model.getModelDescription(),
    eos: model.tokenEos(),
    adds: { bos: model.shouldPrependBosToken(), eos: model.shouldAppendEosToken() },
    ids: texts.map((text) => [...model.tokenize(text, false)]),
    logProbabilities: await Array.fromAsync(sequences, score),
    continuations: await Array.fromAsync(prompts, continueGreedily),
  };
}

if (import.meta.main) {
  const request: Request = await new Response(Deno.stdin.readable).json();
  console.log(JSON.stringify(await answer(request)));
  Deno.exit(0); // its threads would go on
}
