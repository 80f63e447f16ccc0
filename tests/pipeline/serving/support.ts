/** Runs that serve, made of random weights, for the tests of generation. */

import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { type Tokenizer, trainTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { routerFolder, saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { expertFolder } from "../../../pipeline/graph/node.ts";
import type { Generation } from "../../../pipeline/serving/generate.ts";
import { inFolder } from "../../tasks/support.ts";
import { anyWeights } from "../model/support.ts";
import { LETTERS as CODES } from "../text/support.ts";

/** M of the runs made here. */
export const PREFIX = 8;

async function* documents() {
  await Promise.resolve();
  for (let i = 0; i < 40; i++) {
    yield { text: `the sea and the ship ${i}, naïve 日本 and the shore\n`, source: "" };
  }
}

let trained: Promise<Tokenizer> | undefined;

/** A byte-level tokenizer of 270 ids, so that most characters beyond ASCII are several tokens. */
export function byteTokenizer(): Promise<Tokenizer> {
  return trained ??= trainTokenizer(documents(), { vocabularySize: 270, sample: 1e5 });
}

/** A tokenizer of 270 ids, each a letter by its code, for tests that need no library. */
export const LETTERS: Tokenizer = { ...CODES, vocabulary: 270, sha256: "letters" };

/**
 * A tokenizer one of whose tokens, 1, is a space and the first bytes of the quotation mark that 2
 * completes; 3 is the letter a.
 */
export const QUOTES: Tokenizer = {
  vocabulary: 4,
  eos: 0,
  sha256: "quotes",
  json: "{}",
  encode: (texts) => Promise.resolve(texts.map((text) => new Uint32Array(text.length).fill(3))),
  decode(ids) {
    const bytes = [[], [0x20, 0xe2, 0x80], [0x9c], [0x61]];
    return Promise.resolve(
      new TextDecoder().decode(Uint8Array.from(Array.from(ids).flatMap((id) => bytes[id]))),
    );
  },
};

/** Shapes of the routers and experts made here. */
export const ROUTER: ModelConfig = { vocabulary: 270, hidden: 4, layers: 1, heads: 1, context: 64 };
export const EXPERT: ModelConfig = {
  vocabulary: 270,
  hidden: 12,
  layers: 2,
  heads: 2,
  context: 64,
};

/**
 * Shapes of a run, where they are others than {@linkcode ROUTER} and {@linkcode EXPERT}; both have
 * room for the ids of the tokenizer.
 */
export interface Shapes {
  router?: ModelConfig; // shape of the routers
  expert?: ModelConfig; // shape of the experts
  prefix?: number; // tokens of the routing prefix, M
}

/** Makes a run folder that holds what serving needs: tokenizer, routers, experts, `config.json`. */
export async function servingRun(
  run: string,
  experts = 3,
  { router = ROUTER, expert = EXPERT, prefix = PREFIX }: Shapes = {},
): Promise<void> {
  const tokenizer = await byteTokenizer();
  const notes = { tokenizer: tokenizer.sha256, eos: tokenizer.eos };
  for (let i = 0; i < experts; i++) {
    const weights = anyWeights(router, `router ${i}`);
    await saveCheckpoint(`${run}/partitioner/${routerFolder(i)}`, router, weights, {
      ...notes,
      prefix,
    });
    const folder = `${run}/experts/${expertFolder(i, 1)}`;
    await saveCheckpoint(folder, expert, anyWeights(expert, `expert ${i}`), notes);
    await Deno.writeTextFile(`${folder}/tokenizer.json`, tokenizer.json);
  }
  await Deno.writeTextFile(`${run}/tokenizer.json`, tokenizer.json);
  const configuration = resolveConfiguration({
    flags: {
      experts,
      prefix,
      sequenceLength: expert.context,
      vocabularySize: expert.vocabulary,
      expertHidden: expert.hidden,
      expertLayers: expert.layers,
      expertHeads: expert.heads,
    },
  });
  await writeRunConfiguration(run, configuration);
}

/** Gives the whole text of an answer. */
export const textOf = async (generation: Generation): Promise<string> =>
  (await Array.fromAsync(generation)).join("");

/** Runs a test with the run folder of {@linkcode servingRun}. */
export const inServingRun = (
  experts: number,
  test: (run: string) => Promise<void>,
): Promise<void> =>
  inFolder(async (run) => {
    await servingRun(run, experts);
    await test(run);
  });

/**
 * Runs a test with a list of the WebGPU devices that are opened meanwhile, which nothing else hands
 * out.
 */
export async function withDevices(test: (devices: GPUDevice[]) => Promise<void>): Promise<void> {
  const { requestDevice } = GPUAdapter.prototype;
  const devices: GPUDevice[] = [];
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options);
    devices.push(device);
    return device;
  };
  try {
    await test(devices);
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice;
  }
}

/** Ways in which a device fails: it is lost, or a driver says that its memory does not suffice. */
export const DEVICE_FAILURES: ((device: GPUDevice) => void)[] = [
  (device) => device.destroy(),
  (device) => {
    const error = new GPUOutOfMemoryError("Not enough memory left.");
    device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
  },
];
