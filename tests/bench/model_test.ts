import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { task } from "../tasks/support.ts";
import { MODELLED, modelStep, modelText } from "./model.ts";

/** The share of the f32 roof that the forms for GPUs are to be able to reach, on paper. */
const GOALS = { "335M": 0.5, "4.4M, bank of 32": 0.25 };

for (const size of Object.keys(MODELLED)) {
  Deno.test(`modelStep() adds up the kernels of a step of ${size}, none faster than the card`, () => {
    const step = modelStep(size);
    const sum = step.kernels.reduce((total, { calls, seconds }) => total + calls * seconds, 0);
    assert(Math.abs(sum / step.seconds - 1) < 1e-9);
    assert(step.ofArithmetic > 0 && step.ofArithmetic < 1, `${step.ofArithmetic}`);
    assert(step.dispatches > 100);
    for (const { kernel, workgroups, bytes, workgroupBytes, multiplyAdds, seconds } of step.kernels) {
      assert(workgroups >= 1 && Number.isInteger(workgroups), kernel);
      assert(seconds >= 2 * multiplyAdds / 60e12 && seconds >= bytes / 3e12, kernel);
      assertEquals(workgroupBytes !== undefined, kernel.startsWith("matmul"), kernel);
    }
    assertStringIncludes(modelText(step), `${size}: `);
  });
}

Deno.test("on paper the forms for GPUs can reach their goals", () => {
  for (const [size, goal] of Object.entries(GOALS)) assert(modelStep(size).ofArithmetic >= goal, size);
});

Deno.test("bench --model judges every size, in words and as JSON", async () => {
  const { code, out, err } = await task("bench", ["--model", "--json"]);
  assertEquals(code, 0, err);
  assertEquals(JSON.parse(out).map(({ size }: { size: string }) => size), Object.keys(MODELLED));
});
