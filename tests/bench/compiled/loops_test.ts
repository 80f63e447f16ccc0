import { assert, assertEquals } from "@std/assert";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import most from "../../../fixtures/compiled_loops.json" with { type: "json" };
import { countLoops, countLoopsOf, type LoopCounts } from "./loops.ts";
import { compileTexts, listTexts } from "./texts.ts";

Deno.test("countLoops() counts clamps in innermost loops, and additions of products", () => {
  const text = `
    %1 = OpExtInst %u %glsl UMin %a %b
         OpLoopMerge %outer %c None
    %2 = OpExtInst %u %glsl UMin %a %b
         OpLoopMerge %inner %d None
    %3 = OpExtInst %u %glsl UMin %a %b
    %4 = OpFMul %f %x %y
    %5 = OpFAdd %f %z %4
    %6 = OpFAdd %f %z %x
%inner = OpLabel
%outer = OpLabel`;
  assertEquals(countLoops(text), { loops: 2, clamps: 1, fusible: 1 });
});

const hasDisassembler = await new Deno.Command("spirv-dis", { args: ["--version"] }).output()
  .then(() => true, () => false);
const isRequired = Deno.env.get("SMALLTALK_REQUIRE_SPIRV") === "1";

Deno.test(
  "no text for GPUs has more loops, clamps in them or sums that a driver may fuse than is written down",
  {
    ignore: !hasDisassembler && !isRequired,
  },
  async () => {
    const folder = await Deno.makeTempDir();
    const known: Record<string, LoopCounts> = most;
    for (const { label, file } of await compileTexts(listTexts(VARIANTS.gpu), folder)) {
      const counts = await countLoopsOf(file);
      assert(counts !== undefined, "SMALLTALK_REQUIRE_SPIRV is 1, but there is no spirv-dis");
      assert(label in known, `${label} is not written down: ${JSON.stringify(counts)}`);
      for (const name of ["loops", "clamps", "fusible"] as const) {
        const text = `${label} has ${counts[name]} ${name}, written down are ${known[label][name]}`;
        assert(counts[name] <= known[label][name], text);
      }
    }
    await Deno.remove(folder, { recursive: true });
  },
);
