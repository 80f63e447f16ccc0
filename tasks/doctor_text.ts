/**
 * Words what an examination of the machine found.
 *
 * @module
 */

import { type AdapterDiagnosis, type Diagnosis, variantsText } from "../pipeline/doctor/mod.ts";
import { bytes, count, roofText } from "./layout.ts";

/** Limits that decide which models fit, and their names for a reader. */
const LIMITS: [name: string, words: string, isBytes: boolean][] = [
  ["maxBufferSize", "largest buffer", true],
  ["maxStorageBufferBindingSize", "largest binding", true],
  ["maxComputeWorkgroupStorageSize", "workgroup memory", true],
  ["maxComputeInvocationsPerWorkgroup", "invocations of a workgroup", false],
  ["maxStorageBuffersPerShaderStage", "buffers of a kernel", false],
];

/** Writes a diagnosis as text; `quick` says that its figures of speed mean nothing. */
export function doctorText(
  { system, adapter, refusal, others, problems }: Diagnosis,
  quick = false,
): string {
  const { cards, nvidia, mesa, loader, drivers, environment, container } = system;
  const lines: [string, string][] = [
    ["cards", cards.join(", ") || "none visible"],
    ["loader", loader ?? "none (libvulkan.so.1)"],
    ...drivers.map(({ path, library, api, problem }): [string, string] => [
      "driver file",
      `${path}: ${problem ? `broken, ${problem}` : `${library}${api ? `, Vulkan ${api}` : ""}`}`,
    ]),
    [
      "driver version",
      [nvidia && `NVIDIA ${nvidia}`, mesa && `Mesa ${mesa}`].filter(Boolean).join(", ") || "unknown",
    ],
    ...Object.entries(environment).map((pair): [string, string] => ["environment", pair.join("=")]),
    ...(container ? [["container", container] as [string, string]] : []),
    ...(others ?? []).map((
      { by, adapter },
    ): [string, string] => ["alone", `${by}: ${adapter ?? "no adapter"}`]),
    ...(adapter ? adapterLines(adapter, quick) : [["adapter", `none: ${refusal}`] as [string, string]]),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  let before = "";
  const body = lines.map(([name, text]) => {
    const shown = name === before ? "" : name;
    before = name;
    return `${shown.padEnd(width)}  ${text}`;
  });
  const found = problems.map(({ severity, what, remedy }) => `${severity}: ${what}\n  ${remedy}`);
  return [...body, "", ...(found.length > 0 ? found : ["nothing is wrong"])].join("\n");
}

function adapterLines(adapter: AdapterDiagnosis, quick: boolean): [string, string][] {
  const { name, kind, backend, driver, offers, features, limits, forms, memory, golden, kept } = adapter;
  const most = (pick: (result: AdapterDiagnosis["golden"][number]) => number) =>
    Math.max(...golden.map(pick));
  const wrong = golden.filter(({ right }) => !right);
  return [
    ["adapter", `${name}, ${kind === "software" ? "on the processor" : "a GPU"}`],
    ["", `backend ${backend}, driver ${driver}`],
    ["features", features.join(", ")],
    ["", `subgroups of 8: ${offers.subgroupsOf8 ? "yes" : "no"}`],
    ...LIMITS.map(([name, words, isBytes], i): [string, string] => [
      i === 0 ? "limits" : "",
      `${words} ${isBytes ? bytes(limits[name]) : count(limits[name])}`,
    ]),
    ...forms.map(({ kernel, form, why }): [string, string] => ["forms", `${kernel}=${form}: ${why}`]),
    [
      "memory",
      `${bytes(memory.allocatable)} of buffers at once${
        memory.allocatable < memory.asked ? "" : ", all that was asked for"
      }`,
    ],
    [
      "golden values",
      wrong.length === 0
        ? `right in ${golden.length} of ${golden.length} trials, all forms; relative errors of losses up to ` +
          `${most(({ loss }) => loss).toExponential(1)}, of gradients up to ${
            most(({ gradients }) => gradients).toExponential(1)
          }`
        : `wrong in ${wrong.length} of ${golden.length} trials`,
    ],
    ...wrong.map(({ variants, dtype, model, loss, norm, gradients }): [string, string] => [
      "golden values",
      `${variantsText(variants)} in ${dtype}, ${model}: losses off by ${loss.toExponential(1)}, norms by ` +
      `${norm.toExponential(1)}, gradients by ${gradients.toExponential(1)}`,
    ]),
    ...(quick ? [["speed", "not measured"] as [string, string]] : speedLines(adapter)),
    ["kept in", kept ?? "no file"],
  ];
}

/** Writes how fast an adapter is. */
function speedLines({ roof, step }: AdapterDiagnosis): [string, string][] {
  const { batch, context, hidden, layers, vocabulary } = step.model;
  return [
    [
      "roof",
      `${count(roof.gflops)} GFLOP/s in f32, ${roof.gflopsF16 ? `${count(roof.gflopsF16)} in f16, ` : ""}${
        count(roof.gbytes)
      } GB/s copying`,
    ],
    [
      "training",
      `${count(step.tokensPerSecond)} tokens/s, ${count(step.gflops)} GFLOP/s, ${
        roofText(step.utilisation)
      } ` +
      `(H=${hidden} L=${layers} V=${vocabulary}, ${batch} sequences of ${context})`,
    ],
  ];
}
