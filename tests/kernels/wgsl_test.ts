import { assert, assertEquals } from "@std/assert";
import {
  attentionBackwardSubgroup,
  attentionForwardSubgroup,
} from "../../kernels/attention/attention_subgroup.ts";
import {
  attentionBackwardKeyWorkgroup,
  attentionBackwardQueryWorkgroup,
  attentionForwardWorkgroup,
} from "../../kernels/attention/attention_workgroup.ts";
import { sumLanes } from "../../kernels/device/sum_lanes.ts";
import { compose, includesOf } from "../../kernels/device/wgsl.ts";
import {
  layerNormBackwardSubgroup,
  layerNormForwardSubgroup,
} from "../../kernels/layer_norm/layer_norm_subgroup.ts";
import { matmulSubgroup } from "../../kernels/matmul/matmul_subgroup.ts";
import { matmulTransposedSubgroup } from "../../kernels/matmul/matmul_transposed_subgroup.ts";
import { matmulTransposedWorkgroup, matmulWorkgroup, TILES } from "../../kernels/matmul/matmul_workgroup.ts";

const kernels = new URL("../../kernels/", import.meta.url);
/** Every file of a folder per op, by its path under `kernels/`. */
const files = [...Deno.readDirSync(kernels)].filter(({ isDirectory }) => isDirectory)
  .flatMap(({ name: op }) => [...Deno.readDirSync(new URL(op, kernels))].map(({ name }) => `${op}/${name}`));
const read = (path: string) => Deno.readTextFileSync(new URL(path, kernels));
const shaders = files.filter((path) => path.endsWith(".wgsl")).sort();
const host = files.filter((path) => path.endsWith(".ts"))
  .map((path) => ({ op: path.split("/")[0], code: read(path) }));

const adapter = await navigator.gpu.requestAdapter();
assert(
  adapter,
  "kernels cannot be compiled as this machine has no Vulkan driver: install mesa-vulkan-drivers",
);
const { maxStorageBuffersPerShaderStage } = adapter.limits;
const requiredLimits = { maxStorageBuffersPerShaderStage };
const withSubgroups = await adapter.requestDevice({ requiredFeatures: ["subgroups"], requiredLimits })
  .catch(() => undefined);
const device = withSubgroups ?? await adapter.requestDevice({ requiredLimits });

/** Blocks of attention's workgroup form. */
const BLOCKS = { head4: 9, rows: 64, merged: false };

/** Texts with fragments that TypeScript writes, in one shape each: the kernels' own tests run the others. */
const WRITTEN: Record<string, string> = {
  "attention/attention_backward_key_workgroup.wgsl": attentionBackwardKeyWorkgroup(BLOCKS),
  "attention/attention_backward_query_workgroup.wgsl": attentionBackwardQueryWorkgroup(BLOCKS),
  "attention/attention_forward_workgroup.wgsl": attentionForwardWorkgroup({ ...BLOCKS, keep: true }),
  "attention/attention_backward_subgroup.wgsl": attentionBackwardSubgroup({
    columns: 24,
    block: 32,
    merged: false,
  }),
  "attention/attention_forward_subgroup.wgsl": attentionForwardSubgroup({ columns: 24, block: 64 }),
  "layer_norm/layer_norm_backward_subgroup.wgsl": layerNormBackwardSubgroup(3),
  "layer_norm/layer_norm_forward_subgroup.wgsl": layerNormForwardSubgroup(3),
  "matmul/matmul_subgroup.wgsl": matmulSubgroup({ panel: "wide", apart: true }),
  "matmul/matmul_transposed_subgroup.wgsl": matmulTransposedSubgroup({ width: 2, terms: 2 }),
  "matmul/matmul_transposed_workgroup.wgsl": matmulTransposedWorkgroup(TILES[0]),
  "matmul/matmul_workgroup.wgsl": matmulWorkgroup({ tile: TILES[0], holds: "f32" }),
};

/** Texts that hold fragments which stand in for others. */
const OTHERS = [
  sumLanes(32).sum_lanes,
  attentionForwardWorkgroup({ ...BLOCKS, keep: false }),
  attentionBackwardQueryWorkgroup({ ...BLOCKS, merged: true }),
  matmulWorkgroup({ tile: TILES[0], holds: "f16" }),
  matmulWorkgroup({ tile: TILES[0], holds: "f32", segmented: true }),
];

/** The fragments of a text that are files beside it, or those of several ops in device/, by name. */
function fragmentsOf(path: string): Record<string, string> {
  const names = includesOf(read(path)).flatMap((name) =>
    [path.split("/")[0], "device"].map((folder) => [name, `${folder}/${name}.wgsl`])
  );
  return Object.fromEntries(
    names.filter(([, file]) => shaders.includes(file)).map(([name, file]) => [name, read(file)]),
  );
}

/** Puts the fragments that are files into a text. */
const composedOf = (path: string) => compose(read(path), fragmentsOf(path));

const isFragment = (path: string) => !read(path).includes("@compute");

/** The comment that a file starts with, line by line, without its slashes. */
function header(code: string): string[] {
  const lines = code.split("\n");
  return lines.slice(0, lines.findIndex((line) => !line.startsWith("//"))).map((line) => line.slice(2));
}

Deno.test("kernels/ holds shaders, and each is loaded by a module beside it", () => {
  assert(shaders.length >= 20, `${shaders.length} shaders`);
  for (const path of shaders) {
    const [op, name] = path.split("/");
    assert(
      host.some((file) => file.op === op && file.code.includes(`from "./${name}"`)),
      `${path} is not loaded`,
    );
  }
});

Deno.test("a file without an entry point is a fragment: it names itself, and a text beside it holds it", () => {
  const texts = shaders.filter((path) => !isFragment(path)).map((path) => WRITTEN[path] ?? composedOf(path));
  const fragments = shaders.filter(isFragment);
  assert(fragments.length >= 3, `${fragments.length} fragments`);
  for (const path of fragments) {
    const [first] = header(read(path));
    assertEquals(first.trim().split(":")[0], path.split("/")[1].replace(".wgsl", ""));
    assert([...texts, ...OTHERS].some((text) => text.includes(`//${first}`)), `${path} is not included`);
  }
});

for (const path of shaders) {
  if (isFragment(path)) continue;
  const code = WRITTEN[path] ?? composedOf(path);
  const name = path.split("/")[1];

  const ignore = path.endsWith("_subgroup.wgsl") && !withSubgroups;
  Deno.test(`${name} names itself, describes every binding and compiles`, { ignore }, async () => {
    const lines = header(code);
    assertEquals(lines[0].trim().split(/[:\s]/)[0], name.replace(".wgsl", ""), "first word of the header");

    // The table: names, then a shape in brackets, then the type and how it is accessed.
    const table = new Map(
      lines.map((line) => line.match(/^ {3}((?:\w+ )+) *\[.*\] +(\w+) +(read\/write|read|write|\+=)(?: |$)/))
        .filter((match) => match !== null)
        .flatMap(([, words, , access]) => words.trim().split(" ").map((word) => [word, access] as const)),
    );
    const bindings = [...code.matchAll(/@group\(0\) @binding\((\d+)\) var<([\w, ]+)> (\w+):/g)];
    assertEquals(
      bindings.map(([, number]) => Number(number)),
      [...bindings.keys()],
      "binding numbers, in order",
    );
    const [[, , space, first], ...buffers] = bindings;
    assertEquals([space, first], ["uniform", "params"], "binding 0");
    for (const [, , access, variable] of buffers) {
      const stated = table.get(variable);
      assert(stated, `${variable} is not in the header's table`);
      assertEquals(
        access === "storage, read",
        stated === "read",
        `${variable} is ${access}, the table says ${stated}`,
      );
    }
    assertEquals([...table.keys()].sort(), buffers.map(([, , , variable]) => variable).sort(), "the table");
    const writable = buffers.map(([, , access]) => access.endsWith("read_write"));
    assertEquals(writable, writable.toSorted(), "what is written comes after what is read");

    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: name, code });
    const { messages } = await module.getCompilationInfo();
    device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    const error = await device.popErrorScope();
    assertEquals(messages.filter(({ type }) => type === "error").map(({ message }) => message), []);
    assertEquals(error?.message, undefined);
  });
}
