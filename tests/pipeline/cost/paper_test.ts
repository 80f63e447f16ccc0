import { assert, assertEquals } from "@std/assert";
import {
  paperCommunication,
  paperPair,
  paperTable,
  PRINTED_COMMUNICATION,
} from "../../../pipeline/cost/paper.ts";

/** The printed table: model, experts, training, overhead (1e19), inference, overhead (1e12). */
const PRINTED = `
  335M  4   31.02  0.22 0.79 0.01
  335M  8   62.03  0.75 0.79 0.02
  335M 16  124.06  2.71 0.79 0.04
  335M 32  248.12 10.28 0.79 0.08
  1.3B  4  221.33  0.36 2.81 0.01
  1.3B 16  885.32  4.87 2.81 0.04
  1.3B 32 1770.65 18.94 2.81 0.08`.trim().split("\n").map((line) => line.trim().split(/ +/));

Deno.test("paperTable() gives all seven rows of Table 3 within 0.01", () => {
  const rows = paperTable();
  assertEquals(rows.length, 7);
  rows.forEach(({ model, experts, counted, printed }, i) => {
    const [name, number, ...figures] = PRINTED[i];
    assertEquals([model, String(experts)], [name, number]);
    const expected = figures.map(Number);
    const { training, trainingOverhead, inference, inferenceOverhead, denseTraining } = counted;
    [training, trainingOverhead, inference, inferenceOverhead].forEach((value, column) => {
      assert(Math.abs(value - expected[column]) < 0.01, `row ${i}, column ${column}: ${value}`);
    });
    assert(Math.abs(denseTraining - expected[0]) < 0.01, `row ${i}, dense: ${denseTraining}`);
    assertEquals(Object.values(printed), expected);
  });
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
