import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { doctorText } from "../../tasks/doctor_text.ts";
import type { Diagnosis } from "../../pipeline/doctor/mod.ts";

Deno.test("doctorText() tells of an adapter in words, and reports where nothing is wrong", () => {
  const variants = {
    matmul: "workgroup",
    attention: "workgroup",
    rows: "workgroup",
    loss: "chunks",
  } as const;
  const errors = { loss: 1e-6, norm: 1e-6, gradients: 1e-4 };
  const limits = {
    maxBufferSize: 2 ** 31,
    maxStorageBufferBindingSize: 2 ** 31,
    maxComputeWorkgroupStorageSize: 49_152,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxStorageBuffersPerShaderStage: 64,
  };
  const diagnosis: Diagnosis = {
    system: { cards: [], drivers: [], environment: {} },
    problems: [],
    adapter: {
      ...{
        name: "NVIDIA H100",
        kind: "gpu",
        backend: "vulkan",
        driver: "NVIDIA 570.1",
        features: ["shader-f16"],
        limits,
      },
      offers: { subgroupsOf8: false, f16: true },
      forms: [{ kernel: "matmul", form: "workgroup", why: "meant for GPUs" }],
      memory: { allocatable: 78 * 2 ** 30, asked: 256 * 2 ** 30 },
      golden: [
        { variants, dtype: "f32", model: "tiny", ...errors, right: true },
        { variants, dtype: "bf16", model: "odd", ...errors, loss: 0.5, right: false },
      ],
      roof: { gflops: 55_000, gflopsF16: 100_000, gbytes: 2500 },
      step: {
        model: { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, batch: 32, context: 256 },
        ...{ tokensPerSecond: 1e6, gflops: 22_000, utilisation: 0.4 },
      },
      kept: "/home/a/devices.json",
    },
  };
  const text = doctorText(diagnosis);
  for (
    const part of [
      "NVIDIA H100, a GPU\n",
      "memory          78 GiB of buffers at once\n",
      "golden values   wrong in 1 of 2 trials\n",
      "matmul=workgroup,attention=workgroup,rows=workgroup,loss=chunks in bf16, odd: losses off by 5.0e-1",
      "peak            55,000 GFLOP/s in f32, 100,000 in f16, 2,500 GB/s copying\n",
      "training        1,000,000 tokens/s, 22,000 GFLOP/s, 40.0% of the peak",
      "kept in         /home/a/devices.json\n",
    ]
  ) assertStringIncludes(text, part);
  assertEquals(text.split("\n").at(-1), "nothing is wrong");
  const quick = doctorText(diagnosis, true); // whose figures mean nothing
  assertStringIncludes(quick, "\nspeed           not measured\nkept in ");
  assertFalse(/peak|tokens\/s|FLOP/.test(quick), quick);
});
