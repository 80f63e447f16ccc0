import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { expertFolder } from "../../../pipeline/graph/node.ts";
import { findKind, PARTITIONERS } from "../../../pipeline/partition/partitioners.ts";
import { self } from "../../../pipeline/partition/self.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { inFolder } from "../../tasks/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { noDevice } from "./support.ts";

const MODEL: ModelConfig = { vocabulary: 13, hidden: 8, layers: 2, heads: 2, context: 8 };
const EXPERTS = ["a", "b", "c"];
const ROWS = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 1, 2], [3, 5], [7]];

async function writeExperts(
  folder: string,
  configs = EXPERTS.map(() => MODEL),
  tokenizer = "ab12",
) {
  for (const [expert, config] of configs.entries()) {
    const weights = anyWeights(config, EXPERTS[expert]);
    await saveCheckpoint(`${folder}/${expertFolder(expert, 1)}`, config, weights, {
      tokenizer,
      eos: 0,
    });
  }
}

function tokenRows(rows: number[][]) {
  const tokens = new Uint16Array(rows.length * 8);
  rows.forEach((row, i) => tokens.set(row, i * 8));
  return { tokens, sequenceLength: 8, length: Uint32Array.from(rows, (row) => row.length) };
}

Deno.test({
  name:
    "self costs every expert's NLL of each prefix, as the f64 model has it, whatever shapes and company",
  ignore: gpu === null,
  fn: () =>
    inFolder(async (folder) => {
      const configs = [MODEL, { ...MODEL, hidden: 12 }, { ...MODEL, layers: 1, heads: 4 }];
      await writeExperts(folder, configs);
      const opened = await self.open(folder, () => Promise.resolve(gpu!));
      const { kind, experts, vocabulary, tokenizer, prefix, shape } = opened;
      assertEquals([kind, experts, vocabulary, tokenizer, prefix, shape], [
        "self",
        3,
        13,
        "ab12",
        8,
        undefined,
      ]);
      const prefixes = [2, 5, 8];
      const nllOf = (row: number[], expert: number) =>
        row.length < 2
          ? 0
          : sequenceNll(configs[expert], anyWeights(configs[expert], EXPERTS[expert]), row);
      const expected = prefixes.flatMap((prefix) =>
        ROWS.flatMap((row) => configs.map((_, expert) => nllOf(row.slice(0, prefix), expert)))
      );
      const costs = await opened.costs(tokenRows(ROWS), prefixes);
      assertClose(costs, expected, { atol: 1e-4, rtol: 1e-4 });
      const alone = await opened.costs(tokenRows([ROWS[1]]), [5]);
      assertClose(alone, [...costs.subarray((4 + 1) * 3, (4 + 2) * 3)], { atol: 1e-5, rtol: 1e-5 });
      assertEquals(await opened.costs(tokenRows([]), [5]), new Float32Array());
      assertEquals(await self.identify(folder), { sha256: opened.sha256, experts: 3 });
      opened.close();
    }),
});

Deno.test("self refuses experts that are not there or of other tokens, and to split anything", async () => {
  const { routes, splits } = PARTITIONERS.get("self")!;
  assert(routes && !splits);
  await assertRejects(
    () => Promise.try(() => findKind({ ...defaultConfiguration(), partitioner: "self" })),
    InputError,
    'must be one of em, ctbm, random, source: it is "self"',
  );
  await inFolder(async (folder) => {
    for (const read of [() => self.open(folder, noDevice), () => self.identify(folder)]) {
      await assertRejects(read, InputError, "must hold trained experts: it holds none");
    }
    for (
      const [config, fact] of [
        [{ ...MODEL, vocabulary: 14 }, "vocabulary is 13 for expert 0, 14 for expert 1"],
        [{ ...MODEL, context: 16 }, "context is 8 for expert 0, 16 for expert 1"],
      ] as const
    ) {
      await writeExperts(folder, [MODEL, config]);
      await assertRejects(() => self.open(folder, noDevice), InputError, fact);
    }
    await writeExperts(folder, [MODEL, MODEL]);
    await writeExperts(folder, [MODEL], "cd34");
    await assertRejects(
      () => self.open(folder, noDevice),
      InputError,
      "tokenizer is cd34 for expert 0, ab12 for expert 1",
    );
  });
});
