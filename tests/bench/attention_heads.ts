/**
 * Says of trained models what their attention does on held-out text, with the f64 reference: how large the output of each layer's
 * attention is beside the stream that it is added to, how much weight each head gives to its own token, and the most that any head
 * gives to the one before. In a model whose training has failed in the way that SCIENCE.md tells of, a head of the first layer reads
 * little but its own token, and that layer adds ten times as much as elsewhere.
 *
 *   deno run --allow-read tests/bench/attention_heads.ts RUN FOLDER...
 */
import { type Checkpoint, loadCheckpoint } from "../../pipeline/checkpoints/mod.ts";
import { fromBatch, readArrow } from "../../pipeline/rows/arrow.ts";
import { headWeights, logitsReference, projected } from "../pipeline/model/reference.ts";

/** Sequences that are read, at most. */
const SEQUENCES = 12;
/** Positions from which on heads are looked at: before them there is little to choose from. */
const FIRST = 32;

/** What the attention of a layer does. */
interface Attention {
  /** Root mean square of its output. */
  output: number;
  /** Root mean square of the stream before it. */
  stream: number;
  /** Mean weight of each head on its own token. */
  own: number[];
  /** Mean weight of each head on the token before. */
  before: number[];
}

const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const size = (rows: number[][]): number => Math.sqrt(mean(rows.flat().map((value) => value * value)));

/** Reads sequences of held-out text from everywhere in a run's shards. */
async function heldOut(run: string): Promise<number[][]> {
  const all: number[][] = [];
  const names = Array.from(Deno.readDirSync(`${run}/tokens`), ({ name }) => name).sort();
  for (const name of names.filter((name) => name.startsWith("test-"))) {
    for await (const batch of readArrow(`${run}/tokens/${name}`)) {
      const { rows, tokens, length } = fromBatch(batch, name);
      const width = tokens!.length / rows;
      for (let row = 0; row < rows; row++) {
        if (length![row] > 2 * FIRST) {
          all.push(Array.from(tokens!.subarray(row * width, row * width + length![row])));
        }
      }
    }
  }
  const step = Math.max(1, Math.floor(all.length / SEQUENCES));
  return all.filter((_, i) => i % step === 0).slice(0, SEQUENCES);
}

/** Looks at the attention of every layer of a model on one sequence. */
function attentionOf({ config, weights }: Checkpoint, tokens: number[]): Attention[] {
  const { heads, hidden } = config;
  const layers: Attention[] = [];
  logitsReference(config, weights, tokens, (name, added, stream, layer) => {
    if (name !== "attention") return;
    const qkv = projected(stream, layer);
    const byHead = Array.from(
      { length: heads },
      (_, head) => headWeights(qkv, head, hidden / heads).slice(FIRST),
    );
    const weightOn = (back: number) =>
      byHead.map((rows) => mean(rows.map((row) => row[row.length - 1 - back])));
    layers.push({ output: size(added), stream: size(stream), own: weightOn(0), before: weightOn(1) });
  });
  return layers;
}

const [run, ...folders] = Deno.args;
if (folders.length === 0) {
  console.error("Name a run, whose held-out text is read, and folders of models of its tokenizer");
  Deno.exit(2);
}
const sequences = await heldOut(run);
console.log(
  "model, layer, size of what its attention adds (of the stream before it), weight of each head on its own token, most on the one before",
);
for (const folder of folders) {
  const checkpoint = await loadCheckpoint(folder);
  const seen = sequences.map((tokens) => attentionOf(checkpoint, tokens));
  seen[0].forEach((_, layer) => {
    const of = (value: (attention: Attention) => number) => mean(seen.map((layers) => value(layers[layer])));
    const heads = (name: "own" | "before") =>
      seen[0][layer][name].map((_, head) => of((attention) => attention[name][head]));
    const own = heads("own").map((weight) => weight.toFixed(2)).join(" ");
    const before = Math.max(...heads("before")).toFixed(2);
    const sizes = `${of(({ output }) => output).toFixed(2)} (${of(({ stream }) => stream).toFixed(2)})`;
    console.log(`${folder}  ${layer}  ${sizes}  ${own}  ${before}`);
  });
}
