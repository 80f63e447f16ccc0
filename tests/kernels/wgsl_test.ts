import { assert, assertEquals } from "@std/assert";

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
const device = await adapter.requestDevice({
  requiredLimits: { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage },
});

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

for (const path of shaders) {
  const code = read(path);
  const name = path.split("/")[1];

  Deno.test(`${name} names itself, describes every binding and compiles`, async () => {
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

Deno.test("the workgroup forms of attention share their tiles, and those of products their tails, to the letter", () => {
  const between = (name: string, from: string, to: string) => {
    const code = read(name);
    const [start, end] = [code.indexOf(from), code.indexOf(to)];
    assert(start >= 0 && end > start, `${name} lacks ${start < 0 ? from : to}`);
    return code.slice(start, end);
  };
  const tiles = ["forward", "backward_query", "backward_key"].map((pass) =>
    between(`attention/attention_${pass}_workgroup.wgsl`, "fn fill_left(", "@compute")
  );
  assertEquals([tiles[1], tiles[2]], [tiles[0], tiles[0]]);
  const [curves, others] = ["matmul", "matmul_workgroup"].map((name) =>
    between(`matmul/${name}.wgsl`, "fn tanh4(", "fn finish(")
  );
  assertEquals(curves, others);
});
