import { assert, assertThrows } from "@std/assert";
import { InputError } from "../../../../../kernels/errors.ts";
import { writeAtomic } from "../../../../../pipeline/graph/files.ts";
import {
  type ConfigFields,
  describeModel,
} from "../../../../../pipeline/model/checkpoints/gguf/tensors.ts";
import { encodeGguf } from "../../../../../pipeline/model/checkpoints/gguf/file.ts";
import { vocabularyMetadata } from "../../../../../pipeline/model/checkpoints/gguf/vocabulary.ts";
import { decodeSafetensors } from "../../../../../pipeline/model/checkpoints/safetensors.ts";
import { byteSymbols } from "../../../../../pipeline/text/bpe.ts";
import { inFolder, ROOT } from "../../../../tasks/support.ts";
import { askLlamaCpp, hasLlamaCpp } from "./llama_cpp.ts";

const GOLDEN = `${ROOT}fixtures/golden`;

/** A golden model: its `config.json`, its weights, and the NLL of every sequence. */
interface Golden {
  fields: ConfigFields;
  weights: ReturnType<typeof decodeSafetensors>;
  sequences: number[][];
  nll: number[];
}

function readGolden(name: string): Golden {
  const folder = `${GOLDEN}/${name}`;
  const json = (file: string) => JSON.parse(Deno.readTextFileSync(`${folder}/${file}`));
  const isLlama = name.startsWith("llama/");
  const { config, tokens, lengths, nll } = json("expected.json");
  const path = `${folder}/model${isLlama ? "" : "-00"}.safetensors`;
  return {
    fields: isLlama ? json("config.json") : {
      ...config,
      model_type: "gpt_neox",
      max_position_embeddings: tokens[0].length,
    },
    weights: decodeSafetensors(Deno.readFileSync(path), path),
    sequences: tokens.map((row: number[], i: number) => row.slice(0, lengths[i])),
    nll: nll.map((row: number | number[]) => [row].flat()[0]),
  };
}

/** A tokenizer of so many ids: EOS and the first bytes. */
function tokenizerOf(vocabulary: number): string {
  const tokens = ["<|endoftext|>", ...byteSymbols()].slice(0, vocabulary);
  return JSON.stringify({
    added_tokens: [{ id: 0, content: tokens[0], special: true }],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [],
    },
  });
}

async function writeGolden(file: string, { fields, weights }: Golden): Promise<void> {
  const { metadata, tensors } = describeModel(fields, weights);
  const vocabulary = Number(fields.vocab_size);
  const tokenizer = vocabularyMetadata(tokenizerOf(vocabulary), {
    vocabulary,
    eos: 0,
    where: "tokenizer.json",
  });
  await writeAtomic(file, encodeGguf({ ...metadata, ...tokenizer }, tensors, "f32"));
}

// Per token, in nats; measured: 8e-5. llama.cpp takes GELU from a table of f16 on processors, and
// keeps keys and values as f16.
const TOLERANCE = 2e-4;

for (const name of ["tiny", "odd", "llama/grouped", "llama/untied", "llama/wide"]) {
  Deno.test({
    name: `describeModel() has llama.cpp compute the golden NLL of ${name}`,
    ignore: !hasLlamaCpp,
    fn: () =>
      inFolder(async (folder) => {
        const golden = readGolden(name);
        const file = `${folder}/model.gguf`;
        await writeGolden(file, golden);
        const { logProbabilities } = await askLlamaCpp({ file, sequences: golden.sequences });
        for (const [i, scores] of logProbabilities.entries()) {
          const nll = -scores.reduce((sum, score) => sum + score, 0);
          const off = Math.abs(nll - golden.nll[i]) / scores.length;
          assert(off < TOLERANCE, `sequence ${i}: ${nll} instead of ${golden.nll[i]}`);
        }
      }),
  });
}

Deno.test("describeModel() refuses models that llama.cpp does not have", () => {
  const { fields, weights } = readGolden("tiny");
  const refusals: [ConfigFields, typeof weights, string][] = [
    [{ ...fields, model_type: "smalltalk_switch" }, weights, 'it is "smalltalk_switch"'],
    [
      fields,
      new Map([["gpt_neox.layers.0.mlp.router.weight", weights.values().next().value!]]),
      'it has none like "gpt_neox.layers.0.mlp.router.weight"',
    ],
  ];
  for (const [fields, weights, text] of refusals) {
    assertThrows(() => describeModel(fields, weights), InputError, text);
  }
});
