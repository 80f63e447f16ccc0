import { assertEquals } from "@std/assert";
import { parameterCount } from "../../../pipeline/model/shape.ts";
import { cost } from "./support.ts";

Deno.test("computeCost() exchanges two bytes a score both ways, and dense four bytes a weight both ways", () => {
  const { communication: c, parameters, mixture } = cost({
    experts: 8,
    rounds: 5,
    roundSequences: 100,
    expertSteps: 7,
  });
  assertEquals([c.exchanges, c.bytesPerExchange], [5, 2 * 2 * 100 * 8]);
  assertEquals(c.corpusBytes, 2 * 2 * 7 * 16 * 8);
  assertEquals(c.bytesPerNode, 5 * c.bytesPerExchange + c.corpusBytes);
  assertEquals(c.denseBytesPerStep, 2 * 4 * parameterCount(mixture.expert));
  assertEquals(c.denseBytesPerNode, 7 * c.denseBytesPerStep);
  assertEquals(parameters.total, 8 * (parameters.router + parameters.expert));
});
