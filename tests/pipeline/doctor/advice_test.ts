import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  listAdvice,
  type MachineFindings,
  processorWarning,
  saturationWarning,
} from "../../../pipeline/doctor/advice.ts";
import type { System } from "../../../pipeline/doctor/system.ts";
import { wordText } from "../../../kernels/errors.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { PRESETS } from "../../../pipeline/settings/resolution.ts";

type Adapter = NonNullable<MachineFindings["adapter"]> & { name: string };
const LAVAPIPE: Adapter = {
  name: "llvmpipe (LLVM 19.1.7, 256 bits)",
  kind: "software",
  offers: { subgroupsOf8: true },
  memory: { allocatable: 2 ** 30, largest: 2 ** 30 },
  golden: [],
  bits: [{ ways: "products with tiles of each size", equal: true }],
};
const H100: Adapter = {
  name: "NVIDIA H100 80GB HBM3",
  kind: "gpu",
  offers: { subgroupsOf8: false },
  memory: { allocatable: 78 * 2 ** 30, largest: 2 ** 32 },
  golden: [],
  bits: [{ ways: "products with tiles of each size", equal: true }],
};
const VARIANTS = {
  matmul: "workgroup",
  attention: "query",
  rows: "invocation",
  loss: "chunks",
} as const;
const wrong = { variants: VARIANTS, dtype: "f32", model: "tiny", right: false } as const;
const LVP_FILE = "/usr/share/vulkan/icd.d/lvp_icd.json";
const NVIDIA_FILE = "/etc/vulkan/icd.d/nvidia_icd.json";
const HEALTHY: System = {
  cards: [],
  loader: "/usr/lib/libvulkan.so.1",
  drivers: [{ path: LVP_FILE, library: "/usr/lib/libvulkan_lvp.so" }],
  environment: {},
};

const CARD: System = { ...HEALTHY, cards: ["/dev/nvidia0"], nvidia: "570.1" };
const missing = { path: NVIDIA_FILE, problem: "there is no such file" };
const byLavapipe = { by: LVP_FILE, adapter: LAVAPIPE.name };
const IGNORED: MachineFindings = { system: CARD, adapter: LAVAPIPE, others: [byLavapipe] };

/**
 * What is found, the texts that the problems must hold, in their order, and how many forbid
 * training.
 */
const CASES: [what: string, findings: MachineFindings, texts: string[][], errors: number][] = [
  ["lavapipe alone", { system: HEALTHY, adapter: LAVAPIPE }, [], 0],
  ["an H100", { system: CARD, adapter: H100 }, [], 0],
  [
    "no Vulkan at all",
    { system: { ...HEALTHY, loader: undefined, drivers: [] } },
    [["libvulkan.so.1", "apt-get install libvulkan1"], [
      "No Vulkan driver is installed",
      "mesa-vulkan-drivers",
    ]],
    2,
  ],
  [
    "a card without its driver",
    { system: { ...CARD, drivers: [] } },
    [["No Vulkan driver is installed", "libnvidia-gl"]],
    1,
  ],
  [
    "a broken driver file",
    {
      system: { ...HEALTHY, drivers: [{ path: NVIDIA_FILE, problem: "its library is not there" }] },
    },
    [["every file that names one is broken"], [NVIDIA_FILE, "its library is not there"]],
    2,
  ],
  [
    "a driver file that the environment names and that is not there",
    { system: { ...HEALTHY, environment: { VK_DRIVER_FILES: NVIDIA_FILE }, drivers: [missing] } },
    [["none is usable", "leave VK_DRIVER_FILES"], [
      `${NVIDIA_FILE}, which the environment names, is not there.`,
    ]],
    2,
  ],
  ["a driver without a card", { system: HEALTHY }, [["No adapter was obtained", LVP_FILE]], 1],
  [
    "the processor on a server that has a card, whose driver would work",
    { ...IGNORED, others: [byLavapipe, { by: NVIDIA_FILE, adapter: H100.name }] },
    [["runs on the processor", "/dev/nvidia0", `VK_DRIVER_FILES=${NVIDIA_FILE}`, H100.name]],
    0,
  ],
  [
    "a container without the graphics capability",
    { ...IGNORED, system: { ...CARD, container: "Docker" } },
    [["runs on the processor", "NVIDIA_DRIVER_CAPABILITIES=graphics,utility"]],
    0,
  ],
  [
    "a driver of NVIDIA that does not load",
    {
      ...IGNORED,
      others: [byLavapipe, {
        by: NVIDIA_FILE,
        adapter: null,
        words: "libXext.so.6: cannot open shared object file: No such file or directory",
      }],
    },
    [["runs on the processor"], [NVIDIA_FILE, "libXext.so.6", "libEGL_nvidia.so.0"]],
    0,
  ],
  [
    "OpenGL instead of Vulkan",
    { ...IGNORED, others: [{ by: "OpenGL", adapter: "NVIDIA H100 PCIe" }] },
    [["runs on the processor"], ["through OpenGL alone", "NVIDIA H100 PCIe"]],
    0,
  ],
  [
    "a small window of the card's memory",
    {
      system: CARD,
      adapter: { ...H100, memory: { allocatable: 246 * 2 ** 20, largest: 2 ** 27 } },
    },
    [["grants 246 MiB", "Resizable BAR"]],
    1,
  ],
  [
    "single buffers that are refused on a card with much memory",
    {
      system: CARD,
      adapter: { ...H100, memory: { allocatable: 15 * 2 ** 30, largest: 240 * 2 ** 20 } },
    },
    [["grants 15360 MiB", "at most 240 MiB", "Resizable BAR"]],
    0,
  ],
  [
    "wrong numbers",
    { system: HEALTHY, adapter: { ...LAVAPIPE, golden: [{ ...wrong, right: true }, wrong] } },
    [[
      "here: matmul=workgroup,attention=query,rows=invocation,loss=chunks in f32 (tiny).",
      "Do not train",
    ]],
    1,
  ],
  [
    "other bits by other ways",
    { system: CARD, adapter: { ...H100, bits: [{ ways: "products with tiles", equal: false }] } },
    [["other bits for products with tiles", "Update the driver"]],
    0,
  ],
  [
    "a driver without subgroups of 8",
    { system: HEALTHY, adapter: { ...LAVAPIPE, offers: { subgroupsOf8: false } } },
    [["no subgroups of 8", "AVX"]],
    0,
  ],
];

for (const [what, findings, texts, errors] of CASES) {
  Deno.test(`listAdvice() on ${what}`, () => {
    const problems = listAdvice(findings);
    assertEquals(problems.length, texts.length, JSON.stringify(problems));
    texts.forEach((parts, i) => {
      const { what, remedy } = problems[i];
      for (const part of parts) assertStringIncludes(`${what} ${remedy}`, part);
      assert(/^[A-Z].*\.$/.test(what) && /^[A-Z].*\.$/.test(remedy), `${what} ${remedy}`);
    });
    assertEquals(problems.filter(({ severity }) => severity === "error").length, errors);
  });
}

const CARDS = ["/dev/nvidia0", "/dev/dri/renderD128"];
const settings = (preset: string) => ({ ...defaultConfiguration(), ...PRESETS[preset] });

Deno.test("processorWarning() reports why a GPU was to be expected: a card that is visible, or the paper's shapes", async () => {
  const reported = async (
    preset: string,
    cards: string[],
    { name: adapter, kind } = LAVAPIPE,
  ) => {
    const text = await processorWarning({ adapter, kind }, settings(preset), cards);
    return text && wordText(text);
  };
  assertStringIncludes((await reported("tiny", CARDS))!, `shows a card (${CARDS.join(", ")})`);
  assertStringIncludes(
    (await reported("paper-1.3b", []))!,
    "the experts have the shape of paper-1.3b",
  );
  assertEquals([await reported("paper-1.3b", CARDS, H100), await reported("small", [])], [
    undefined,
    undefined,
  ]);
});

Deno.test("saturationWarning() reports how much f16 could not hold, and is silent where it held all", () => {
  assertEquals(saturationWarning(0), undefined);
  assertStringIncludes(wordText(saturationWarning(12)!), "took 12 values beyond 65,504 as 65,504");
});
