import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { compareBits } from "../../../pipeline/doctor/bits.ts";
import { gpu } from "../../kernels/support.ts";

const ways = "a model alone and in a bank of two";

Deno.test("compareBits() tells of a device whose bits depend on the bank, and of none else", async () => {
  assertEquals(await compareBits(gpu), [{ ways, equal: true }]);
  const fused: Gpu = {
    ...gpu,
    dispatch: (plan) => {
      const isBank = plan.label === "adamw" && plan.models === 2;
      const code = isBank
        ? plan.code.replace("params.epsilon", "fma(params.epsilon, 1.5, 0.0)")
        : plan.code;
      return gpu.dispatch({ ...plan, code });
    },
  };
  assertEquals(await compareBits(fused), [{ ways, equal: false }]);
});
