/**
 * Examines the machine that is to train.
 *
 *   deno task doctor --json > machine.json
 */
import { binaryBytes, countText } from "../pipeline/graph/numbers.ts";
import { RunError } from "../kernels/errors.ts";
import type { AdapterDiagnosis, Diagnosis } from "../pipeline/doctor/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { blocks, lines, peakText, table } from "./cli/layout.ts";
import { DEVICE } from "./cli/options.ts";

/** A row: a name, which stands once for several, and what there is of it. */
type Row = [name: string, text: string];

/** Writes a diagnosis as text; `quick` says that its figures of speed mean nothing. */
function doctorText(
  { system, adapter, refusal, others: otherAdapters = [], problems }: Diagnosis,
  quick = false,
): string {
  const { cards, nvidia, mesa, loader, drivers, environment, container } = system;
  const versions = [nvidia && `NVIDIA ${nvidia}`, mesa && `Mesa ${mesa}`].filter(Boolean);
  const rows: Row[] = [
    ["cards", cards.join(", ") || "none visible"],
    ["loader", loader ?? "none (libvulkan.so.1)"],
    ...drivers.map(({ path, library, api, problem }): Row => [
      "driver file",
      `${path}: ${problem ? `broken, ${problem}` : `${library}${api ? `, Vulkan ${api}` : ""}`}`,
    ]),
    ["driver version", versions.join(", ") || "unknown"],
    ...Object.entries(environment).map((pair): Row => ["environment", pair.join("=")]),
    ...container ? [["container", container] as Row] : [],
    ...otherAdapters.map((
      { by, adapter, words },
    ): Row => ["alone", `${by}: ${adapter ?? `no adapter${words ? `, ${words}` : ""}`}`]),
    ...adapter ? adapterRows(adapter, quick) : [["adapter", `none: ${refusal}`] as Row],
  ];
  const once = rows.map(([name, text], i) => [name === rows[i - 1]?.[0] ? "" : name, text]);
  const findings = problems.map(({ severity, what, remedy }) =>
    `${severity}: ${what}\n  ${remedy}`
  );
  return blocks(table(null, once), lines(findings.length > 0 ? findings : "nothing is wrong"));
}

function adapterRows(adapter: AdapterDiagnosis, quick: boolean): Row[] {
  const {
    name,
    kind,
    backend,
    driver,
    offers,
    features,
    limits,
    forms,
    memory,
    golden,
    bits,
    kept,
  } = adapter;
  const [loss, gradients] = (["loss", "gradients"] as const)
    .map((name) => Math.max(...golden.map((trial) => trial[name])).toExponential(1));
  const wrong = golden.filter(({ right }) => !right);
  const trials = `${golden.length} of ${golden.length} trials`;
  const all = memory.allocatable < memory.asked ? "" : ", all that was asked for";
  return [
    ["adapter", `${name}, ${kind === "software" ? "on the processor" : "a GPU"}`],
    ["adapter", `backend ${backend}, driver ${driver}`],
    ["features", features.join(", ")],
    ["features", `subgroups of 8: ${offers.subgroupsOf8 ? "yes" : "no"}`],
    ["limits", `largest buffer ${binaryBytes(limits.maxBufferSize)}`],
    ["limits", `largest binding ${binaryBytes(limits.maxStorageBufferBindingSize)}`],
    ["limits", `workgroup memory ${binaryBytes(limits.maxComputeWorkgroupStorageSize)}`],
    ["limits", `invocations of a workgroup ${countText(limits.maxComputeInvocationsPerWorkgroup)}`],
    ["limits", `buffers of a kernel ${countText(limits.maxStorageBuffersPerShaderStage)}`],
    ...forms.map(({ kernel, form, why }): Row => ["variants", `${kernel}=${form}: ${why}`]),
    ["memory", `${binaryBytes(memory.allocatable)} of buffers at once${all}`],
    ["memory", `largest single buffer ${binaryBytes(memory.largest)}`],
    [
      "golden values",
      wrong.length > 0
        ? `wrong in ${wrong.length} of ${golden.length} trials`
        : `right in ${trials}, all variants; relative errors of losses up to ` +
          `${loss}, of gradients up to ${gradients}`,
    ],
    ...wrong.map(({ variants, dtype, model, ...errors }): Row => {
      const [loss, norm, gradients] = (["loss", "norm", "gradients"] as const)
        .map((name) => errors[name].toExponential(1));
      const off = `losses off by ${loss}, norms by ${norm}, gradients by ${gradients}`;
      const run = Object.entries(variants).map((pair) => pair.join("=")).join(",");
      return ["golden values", `${run} in ${dtype}, ${model}: ${off}`];
    }),
    ...bits.map(({ ways, equal }): Row => ["bits", `${equal ? "equal" : "DIFFERENT"}: ${ways}`]),
    ...quick ? [["speed", "not measured"] as Row] : speedRows(adapter),
    ["kept in", kept ?? "no file"],
  ];
}

/** Writes how fast an adapter is. */
function speedRows({ roof: peak, step }: AdapterDiagnosis): Row[] {
  const { batch, context, hidden, layers, vocabulary } = step.model;
  const model = `H=${hidden} L=${layers} V=${vocabulary}, ${batch} sequences of ${context}`;
  const half = peak.gflopsF16 ? `${countText(peak.gflopsF16)} in f16, ` : "";
  const speed = `${countText(step.tokensPerSecond)} tokens/s, ${countText(step.gflops)} GFLOP/s`;
  return [
    [
      "peak",
      `${countText(peak.gflops)} GFLOP/s in f32, ${half}${countText(peak.gbytes)} GB/s copying`,
    ],
    ["training", `${speed}, ${peakText(step.utilisation)} (${model})`],
  ];
}

export const TASK = await defineTask({
  name: "doctor",
  startsAnew: true,
  options: {
    ...DEVICE,
    quick: field.flag("only show that everything runs: the figures mean nothing and are not kept"),
  },
  run: async ({ options, signal, tell, print }) => {
    const { adapter, variants, quick } = options;
    const { examine } = await import("../pipeline/doctor/mod.ts");
    const onStep = (subject: string) => tell(`looking at ${subject} …`);
    const diagnosis = await examine({
      adapter: adapter || undefined,
      variants,
      quick,
      signal,
      onStep,
    });
    print(diagnosis, doctorText(diagnosis, quick));
    const errors = diagnosis.problems.filter(({ severity }) => severity === "error");
    if (errors.length === 0) return;
    const first = errors[0].what.replace(/\.$/, "");
    throw new RunError(`Cannot train here as the machine must be in order: ${first}`);
  },
}, import.meta);
