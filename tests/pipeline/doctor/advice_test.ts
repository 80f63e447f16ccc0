import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { adviceOf, type Findings } from "../../../pipeline/doctor/advice.ts";
import type { System } from "../../../pipeline/doctor/system.ts";

const LAVAPIPE = { name: "llvmpipe (LLVM 19.1.7, 256 bits)", kind: "software", subgroupsOf8: true } as const;
const H100 = { name: "NVIDIA H100 80GB HBM3", kind: "gpu", subgroupsOf8: false } as const;
const LVP_FILE = "/usr/share/vulkan/icd.d/lvp_icd.json";
const NVIDIA_FILE = "/etc/vulkan/icd.d/nvidia_icd.json";
const HEALTHY: System = {
  cards: [],
  loader: "/usr/lib/libvulkan.so.1",
  drivers: [{ path: LVP_FILE, library: "/usr/lib/libvulkan_lvp.so" }],
  environment: {},
};

/** What is found: texts that the problems must hold, in their order, and whether nothing can be trained. */
const CASES: { what: string; findings: Findings; texts: string[][]; errors: number }[] = [
  { what: "lavapipe alone", findings: { system: HEALTHY, adapter: LAVAPIPE }, texts: [], errors: 0 },
  {
    what: "an H100",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"] },
      adapter: H100,
      allocatableBytes: 78 * 2 ** 30,
    },
    texts: [],
    errors: 0,
  },
  {
    what: "no Vulkan at all",
    findings: { system: { ...HEALTHY, loader: undefined, drivers: [] } },
    texts: [["libvulkan.so.1", "apt-get install libvulkan1"], [
      "No Vulkan driver is installed",
      "mesa-vulkan-drivers",
    ]],
    errors: 2,
  },
  {
    what: "a card without its driver",
    findings: { system: { ...HEALTHY, drivers: [], cards: ["/dev/nvidia0"], nvidia: "570.1" } },
    texts: [["No Vulkan driver is installed", "libnvidia-gl"]],
    errors: 1,
  },
  {
    what: "a broken driver file",
    findings: {
      system: { ...HEALTHY, drivers: [{ path: NVIDIA_FILE, problem: "its library is not there" }] },
    },
    texts: [["every file that names one is broken"], [NVIDIA_FILE, "its library is not there"]],
    errors: 2,
  },
  {
    what: "a driver file that the environment names and that is not there",
    findings: {
      system: {
        ...HEALTHY,
        environment: { VK_DRIVER_FILES: NVIDIA_FILE },
        drivers: [{ path: NVIDIA_FILE, problem: "there is no such file" }],
      },
    },
    texts: [["none is usable", "leave VK_DRIVER_FILES"], [
      `The driver file ${NVIDIA_FILE}, which the environment names, is not there.`,
      "Name a file that is, or leave VK_DRIVER_FILES and VK_ICD_FILENAMES unset.",
    ]],
    errors: 2,
  },
  {
    what: "a link that leads nowhere among the driver files",
    findings: {
      system: { ...HEALTHY, drivers: [{ path: NVIDIA_FILE, problem: "there is no such file" }] },
      adapter: LAVAPIPE,
    },
    texts: [[
      "is broken: there is no such file",
      "Install the package that it belongs to again, or remove it.",
    ]],
    errors: 0,
  },
  {
    what: "a broken driver file beside a good one",
    findings: {
      system: { ...HEALTHY, drivers: [...HEALTHY.drivers, { path: NVIDIA_FILE, problem: "it is torn" }] },
      adapter: LAVAPIPE,
    },
    texts: [[NVIDIA_FILE, "it is torn"]],
    errors: 0,
  },
  {
    what: "a driver without a card",
    findings: { system: HEALTHY },
    texts: [["No adapter was obtained", LVP_FILE]],
    errors: 1,
  },
  {
    what: "the processor on a server that has a card, whose driver would work",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"], nvidia: "570.1" },
      adapter: LAVAPIPE,
      others: [{ by: LVP_FILE, adapter: LAVAPIPE.name }, { by: NVIDIA_FILE, adapter: H100.name }],
    },
    texts: [["runs on the processor", "/dev/nvidia0", `VK_DRIVER_FILES=${NVIDIA_FILE}`, H100.name]],
    errors: 0,
  },
  {
    what: "a container without the graphics capability",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"], nvidia: "570.1", container: "Docker" },
      adapter: LAVAPIPE,
      others: [{ by: LVP_FILE, adapter: LAVAPIPE.name }],
    },
    texts: [["runs on the processor", "NVIDIA_DRIVER_CAPABILITIES=graphics,utility"]],
    errors: 0,
  },
  {
    what: "Apptainer without the driver's file",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"], nvidia: "570.1", container: "Apptainer" },
      adapter: LAVAPIPE,
      others: [{ by: LVP_FILE, adapter: LAVAPIPE.name }],
    },
    texts: [["runs on the processor", "start the container with APPTAINER_NV=1, and with APPTAINER_BIND"]],
    errors: 0,
  },
  {
    what: "OpenGL instead of Vulkan",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"] },
      adapter: LAVAPIPE,
      others: [{ by: "OpenGL", adapter: "NVIDIA H100 PCIe" }],
    },
    texts: [["runs on the processor"], ["through OpenGL alone", "NVIDIA H100 PCIe"]],
    errors: 0,
  },
  {
    what: "the OpenGL backend",
    findings: { system: { ...HEALTHY, environment: { DENO_WEBGPU_BACKEND: "gl" } }, adapter: LAVAPIPE },
    texts: [["DENO_WEBGPU_BACKEND is gl"]],
    errors: 0,
  },
  {
    what: "a small window of the card's memory",
    findings: {
      system: { ...HEALTHY, cards: ["/dev/nvidia0"] },
      adapter: H100,
      allocatableBytes: 246 * 2 ** 20,
    },
    texts: [["grants 246 MiB", "Resizable BAR"]],
    errors: 1,
  },
  {
    what: "wrong numbers",
    findings: { system: HEALTHY, adapter: LAVAPIPE, wrongForms: ["matmul=workgroup in f32 (tiny)"] },
    texts: [["matmul=workgroup in f32 (tiny)", "Do not train"]],
    errors: 1,
  },
  {
    what: "a driver without subgroups of 8",
    findings: { system: HEALTHY, adapter: { ...LAVAPIPE, subgroupsOf8: false } },
    texts: [["no subgroups of 8", "AVX"]],
    errors: 0,
  },
];

for (const { what, findings, texts, errors } of CASES) {
  Deno.test(`adviceOf() on ${what}`, () => {
    const problems = adviceOf(findings);
    assertEquals(problems.length, texts.length, JSON.stringify(problems));
    texts.forEach((parts, i) => {
      const { what, remedy } = problems[i];
      for (const part of parts) assertStringIncludes(`${what} ${remedy}`, part);
      assert(/^[A-Z].*\.$/.test(what) && /^[A-Z].*\.$/.test(remedy), `${what} ${remedy}`);
    });
    assertEquals(problems.filter(({ severity }) => severity === "error").length, errors);
  });
}
