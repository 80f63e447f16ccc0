import { assertEquals } from "@std/assert";
import { laneArrays, pick, remembered, sumOverLanes, unroll } from "../../../kernels/device/subgroup.ts";

/** Computes what an expression of sums and selections gives, with names for numbers. */
function evaluate(expression: string, names: Record<string, unknown>): number {
  const text = expression.replace(/(\d)u\b/g, "$1").replaceAll("select(", "choose(").replaceAll("==", "===");
  const choose = (no: number, yes: number, which: boolean) => which ? yes : no;
  return new Function("choose", ...Object.keys(names), `return ${text};`)(choose, ...Object.values(names));
}

Deno.test("pick() selects the value that j names", () => {
  const text = pick(["a", "b", "c"]);
  assertEquals([0, 1, 2].map((j) => evaluate(text, { a: 5, b: 6, c: 7, j })), [5, 6, 7]);
});

Deno.test("sumOverLanes() adds up the lanes in ascending order, each once", () => {
  const lanes: number[] = [];
  const subgroupBroadcast = (value: number, lane: number) => {
    lanes.push(lane);
    return value + lane;
  };
  assertEquals(evaluate(sumOverLanes("x"), { x: 10, subgroupBroadcast }), 8 * 10 + 28);
  assertEquals(lanes, [0, 1, 2, 3, 4, 5, 6, 7]);
});

Deno.test("laneArrays() declares an array per component, and reads and stores all four", () => {
  const arrays = laneArrays("panel", 2, 9);
  assertEquals(arrays.declarations.match(/array<f32, 9>/g)?.length, 8);
  assertEquals(arrays.vector(1, "k"), "vec4f(panel1x[k], panel1y[k], panel1z[k], panel1w[k])");
  assertEquals(
    arrays.store(0, 8, "sum"),
    "panel0x[8] = sum.x; panel0y[8] = sum.y; panel0z[8] = sum.z; panel0w[8] = sum.w;",
  );
});

Deno.test("remembered() writes a text once per shape", () => {
  const written: number[] = [];
  const write = remembered(({ width }: { width: number }) => {
    written.push(width);
    return unroll(width, (i) => `x${i}`, " ");
  });
  assertEquals([2, 3, 2, 3].map((width) => write({ width })), ["x0 x1", "x0 x1 x2", "x0 x1", "x0 x1 x2"]);
  assertEquals(written, [2, 3]);
});
