import { pathToFileURL } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { GOLDEN_LIMITS, goldenErrors, readGoldenCase } from "../../../pipeline/doctor/golden.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";

Deno.test("goldenErrors() are small on a device that computes right, and not 0, as it rounds", async () => {
  const gpu = await openGpu();
  const errors = await goldenErrors(gpu, "tiny", "f32");
  for (const name of ["loss", "norm", "gradients"] as const) {
    assert(errors[name] > 0 && errors[name] <= GOLDEN_LIMITS.f32[name], `${name}: ${errors[name]}`);
  }
  gpu.close();
});

Deno.test("goldenErrors() tell of a device that computes wrong", async () => {
  const gpu = await openGpu();
  const scaled: typeof gpu = {
    ...gpu,
    dispatch: (plan) =>
      gpu.dispatch({ ...plan, code: plan.code.replace("inverseSqrt", "1.01 * inverseSqrt") }),
  };
  const errors = await goldenErrors(scaled, "tiny", "f32");
  assert(errors.gradients > GOLDEN_LIMITS.f32.gradients, JSON.stringify(errors));
  gpu.close();
});

Deno.test("readGoldenCase() reads the files of a project whose path has spaces and letters beyond ASCII", () =>
  inFolder(async (folder) => {
    await Deno.symlink(ROOT, `${folder}/a ü`);
    const there = await import(String(pathToFileURL(`${folder}/a ü/pipeline/doctor/golden.ts`)));
    assertEquals(
      there.readGoldenCase("tiny").tensors("model-00.safetensors"),
      readGoldenCase("tiny").tensors("model-00.safetensors"),
    );
  }));
