import { assertAlmostEquals, assertEquals } from "@std/assert";
import { PARTITIONER } from "../../../pipeline/graph/node.ts";
import { saveModelFolder } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { writeDescription } from "../../../pipeline/partition/partitioner.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { evaluateNodes, modelScoresNode } from "../../../pipeline/stages/evaluate.ts";
import { denseTarget, expertTarget } from "../../../pipeline/stages/targets.ts";
import { tokensNode } from "../../../pipeline/stages/token_rows.ts";
import { sequencesNode } from "../../../pipeline/stages/tokenize.ts";
import { inFolder } from "../../tasks/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { byteTokenizer, EXPERT, ROUTER } from "../serving/support.ts";
import {
  blockOf,
  handGraph,
  handNode,
  LINEAGE,
  makeNodes,
  rowsNode,
  tokenizerNode,
} from "./support.ts";

const BLOCK = blockOf("aaaaaaaa");
const S = 6;
const PREFIX = 3;
const LENGTHS = [6, 4, 5, 6];

function tokens(first: number, rows: number): Columns {
  const ids = Array.from({ length: rows }, (_, row) => first + row);
  return {
    rows,
    sequence: BigUint64Array.from(ids, BigInt),
    document: BigUint64Array.from(ids, BigInt),
    source: ids.map(() => ""),
    tokens: Uint16Array.from(
      ids.flatMap((id) => Array.from({ length: S }, (_, at) => 1 + id * (at + 3) % 250)),
    ),
    length: Uint32Array.from(ids, (_, row) => LENGTHS[row % 4]),
  };
}

Deno.test("evaluate gives the perplexity of each model, and of the experts that prefixes choose, as an f64 model does", () =>
  inFolder(async (run) => {
    const { json, sha256, vocabulary, eos } = await byteTokenizer();
    const notes = { tokenizer: sha256, prefix: PREFIX, eos };
    const lineage = {
      ...LINEAGE,
      sequenceLength: S,
      vocabulary,
      eos,
      tokenizer: sha256,
      prefix: undefined,
      routers: undefined,
      experts: undefined,
    };
    const of = handGraph(run, [BLOCK], { experts: 2, sequenceLength: S, prefix: PREFIX });
    const routers = [0, 1].map((router) => anyWeights(ROUTER, `router ${router}`));
    const models = [0, 1].map((expert) => expertTarget(expert, { experts: 2 }))
      .concat(denseTarget("batch"));
    const weights = models.map(({ name }) => anyWeights(EXPERT, name));
    const partitioner = handNode(PARTITIONER, async ({ folder }) => {
      for (const [router, own] of routers.entries()) {
        const options = { notes, tokenizer: { json } };
        await saveModelFolder(`${folder}/router-0${router}`, ROUTER, own, options);
      }
      const description = { kind: "em", experts: 2, prefix: PREFIX };
      await writeDescription(folder, { ...description, tokenizer: sha256, vocabulary, eos });
      return {};
    });
    const held = tokens(40, 9);
    const made = [
      tokenizerNode(),
      partitioner,
      rowsNode(tokensNode(BLOCK), tokens(1, 2), held, lineage),
      sequencesNode(of),
      ...models.map(({ node }, i) =>
        handNode(node, async ({ folder }) => {
          await saveModelFolder(folder, EXPERT, weights[i], { notes, tokenizer: { json } });
          return {};
        })
      ),
    ];
    await makeNodes(run, made);
    const { configuration } = of;
    const nodes = await evaluateNodes({ configuration, tokens: [tokensNode(BLOCK)], models });
    await makeNodes(run, nodes);

    const rows = Array.from({ length: held.rows }, (_, row) => [
      ...held.tokens!.subarray(S * row, S * row + held.length[row]),
    ]);
    const predicted = rows.reduce((sum, { length }) => sum + length - 1, 0);
    const costs = models.map((_, model) =>
      rows.map((ids) => sequenceNll(EXPERT, weights[model], ids))
    );
    const chosen = rows.map((ids) => {
      const prefix = ids.slice(0, PREFIX);
      const [a, b] = routers.map((router) => sequenceNll(ROUTER, router, prefix));
      return a <= b ? 0 : 1;
    });
    assertEquals(new Set(chosen).size, 2); // both experts are needed
    const perplexity = (nll: readonly number[]) =>
      Math.exp(nll.reduce((a, b) => a + b, 0) / predicted);
    const { scores } = JSON.parse(await Deno.readTextFile(`${run}/evaluation.json`));
    const mixture = perplexity(rows.map((_, row) => costs[chosen[row]][row]));
    assertAlmostEquals(scores.mixture.perplexity, mixture, 1e-3 * mixture);
    const dense = perplexity(costs[2]);
    assertAlmostEquals(scores.dense.perplexity, dense, 1e-3 * dense);
    assertEquals(nodes.map(({ name }) => name).slice(-4), [
      ...models.map(modelScoresNode),
      "evaluation/result",
    ]);
  }));
