import { assert, assertEquals } from "@std/assert";
import {
  paperCommunication,
  paperPair,
  paperTable,
  PRINTED_COMMUNICATION,
} from "../../../pipeline/cost/paper.ts";

Deno.test("paperTable() gives all seven rows of Table 3 within 0.01", () => {
  const rows = paperTable();
  assertEquals(rows.length, 7);
  for (const { model, experts, counted, printed } of rows) {
    const { training } = printed;
    for (const [name, value] of Object.entries({ ...printed, denseTraining: training })) {
      const own = counted[name as keyof typeof counted];
      assert(Math.abs(own - value) < 0.01, `${name} of ${model}, ${experts} experts: ${own}`);
    }
  }
});

Deno.test("paperTable() holds the dense model's steps and batch at the tokens of all experts", () => {
  for (const { experts, steps, batch, denseSteps, denseBatch } of paperTable()) {
    assertEquals(denseSteps * denseBatch, steps * batch * experts);
  }
});

Deno.test("paperCommunication() gives 94 exchanges, 5.625 MB and 10.4 GB", () => {
  const expected = { exchanges: 94, bytesPerExchange: 5.625e6, denseBytesPerStep: 10.4e9 };
  assertEquals(paperCommunication(), expected);
  assertEquals(PRINTED_COMMUNICATION, expected);
});

Deno.test("paperPair() gives the pair of Table 3 as it is: 221e19 against 258e19 FLOPs, 9.10 against 9.07", () => {
  const { dense, mixture, apart } = paperPair();
  assertEquals([dense, mixture].map(({ training }) => Math.round(training)), [221, 258]);
  assertEquals([dense, mixture].map(({ inference }) => inference.toFixed(2)), ["2.81", "0.87"]);
  assertEquals([dense.perplexity, mixture.perplexity], [9.10, 9.07]);
  assertEquals(Math.round(100 * apart), 14);
});
