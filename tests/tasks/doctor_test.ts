import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { KERNEL_VARIANTS } from "../../kernels/device/variants.ts";
import { inFolder, task } from "./support.ts";

Deno.test("doctor examines the adapter at hand: every form that it runs is right, and nothing of a trial is kept", async () => {
  const { code, out, err } = await task("doctor", ["--quick", "--json"]);
  const { system, adapter, others, problems } = JSON.parse(out);
  assertEquals(
    code,
    problems.some(({ severity }: { severity: string }) => severity === "error") ? 1 : 0,
    err,
  );
  assert(system.drivers.length > 0);
  assert(others.some((other: { adapter: string }) => other.adapter === adapter.name));
  assert(adapter.memory.allocatable > 2 ** 28);
  assertEquals(
    adapter.forms.map(({ kernel }: { kernel: string }) => kernel),
    Object.keys(KERNEL_VARIANTS),
  );
  assert(
    adapter.golden.every(({ right }: { right: boolean }) => right),
    JSON.stringify(adapter.golden),
  );
  for (const [kernel, forms] of Object.entries(KERNEL_VARIANTS)) {
    const seen = adapter.golden.map(({ variants }: { variants: Record<string, string> }) =>
      variants[kernel]
    );
    for (const form of forms) {
      const lacks = form === "subgroup" && !adapter.offers.subgroupsOf8 ||
        /f16/.test(form) && !adapter.offers.f16;
      assertEquals(seen.includes(form), !lacks, `${kernel}=${form}`);
    }
  }
  for (const figure of [adapter.roof.gflops, adapter.roof.gbytes, adapter.step.tokensPerSecond]) {
    assert(figure > 0);
  }
  assertEquals(adapter.kept, undefined);
});

Deno.test("doctor reports what is the matter on a machine without Vulkan, and ends with 1", () =>
  inFolder(async (folder) => {
    const file = `${folder}/icd.json`;
    const { code, out, err } = await task("doctor", ["--quick"], {
      env: { VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file },
    });
    assertEquals(code, 1, err);
    assertStringIncludes(out, "none: Cannot open a GPU as this machine has no Vulkan driver");
    assertMatch(
      out,
      /The driver file \S+, which the environment names, is not there\.\n {2}Name a file that is, or/,
    );
    assertMatch(
      out,
      /^error: The environment names the driver files .*\n {2}Name a file that is, or leave/m,
    );
    assertMatch(err, /^error: Cannot train here as the machine must be in order: .*$/m);
    assertFalse(/^bug/m.test(err));
  }));
