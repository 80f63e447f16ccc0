/**
 * Says what is wrong with a machine that is to train on a GPU, and what to do, from what was found on it.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { FoundAdapter } from "./adapters.ts";
import { NO_FILE, type System } from "./system.ts";

/** Something that is wrong, and how to mend it. */
export interface Problem {
  /** `error`: nothing can be trained; `warning`: training is slow, or may be wrong. */
  severity: "error" | "warning";
  /** What is wrong: a sentence. */
  what: string;
  /** What to do: a sentence. */
  remedy: string;
}

/** What {@linkcode adviceOf} takes. */
export interface Findings {
  /** What the system shows. */
  system: System;
  /** The adapter that was handed out; undefined where there is none. */
  adapter?: { name: string; kind: AdapterKind; subgroupsOf8: boolean };
  /** What each driver hands out alone; undefined where nobody could ask. */
  others?: readonly FoundAdapter[];
  /** Bytes of buffers that could be had. */
  allocatableBytes?: number;
  /** Forms that miss the golden values. */
  wrongForms?: readonly string[];
}

/**
 * Less memory than a training of any size needs. A device that grants no more makes only a small window of
 * its memory visible.
 */
const SMALL_BYTES = 1.5 * 2 ** 30;

/** Commands that install what is missing. */
const LOADER = "apt-get install libvulkan1";
const SOFTWARE = "apt-get install mesa-vulkan-drivers libvulkan1";
const NVIDIA =
  "install the driver's Vulkan part (on Debian and Ubuntu libnvidia-gl-XXX or libnvidia-gl-XXX-server of the same " +
  "version as the kernel's driver, with libegl1 and libxext6)";
const IN_CONTAINER =
  "start the container with NVIDIA_DRIVER_CAPABILITIES=graphics,utility (container toolkit 1.18 or later, libegl1 in the image)";
const IN_APPTAINER =
  "start the container with APPTAINER_NV=1, and with APPTAINER_BIND naming the driver's file of the host, which the former may leave out " +
  "(/usr/share/vulkan/icd.d/nvidia_icd.json, on some hosts in /etc/vulkan/icd.d); the image needs libegl1 and libxext6";

/** Lists what is wrong, the worst first. */
export function adviceOf(findings: Findings): Problem[] {
  const problems = [
    ...findings.adapter ? [] : withoutAdapter(findings.system),
    ...brokenDrivers(findings),
    ...ignoredCard(findings),
    ...slowSoftware(findings),
    ...smallMemory(findings),
    ...wrongResults(findings),
  ];
  return problems.sort((a, b) => Number(a.severity === "warning") - Number(b.severity === "warning"));
}

/** Says what makes the card of a machine usable. */
function remedyOfCard({ cards, nvidia, container, environment }: System): string {
  const isNvidia = cards.some((card) => card.startsWith("/dev/nvidia")) || nvidia !== undefined;
  if (!isNvidia) {
    return "install the card's Vulkan driver (for AMD and Intel cards mesa-vulkan-drivers), and let the user into the groups video and render";
  }
  if (container === "Apptainer") return IN_APPTAINER;
  return container || environment.NVIDIA_DRIVER_CAPABILITIES !== undefined ? IN_CONTAINER : NVIDIA;
}

const NAME_ANOTHER = "Name a file that is, or leave VK_DRIVER_FILES and VK_ICD_FILENAMES unset.";

/** The driver files that the environment names, as it names them; undefined where it names none. */
const namedIn = ({ VK_DRIVER_FILES, VK_ICD_FILENAMES }: System["environment"]) =>
  VK_DRIVER_FILES ?? VK_ICD_FILENAMES;

const isBroken = ({ problem }: System["drivers"][number]) => problem !== undefined;

/** Says why no adapter was handed out: the loader, the drivers or the card is missing. */
function withoutAdapter(system: System): Problem[] {
  const { cards, loader, drivers, environment } = system;
  const chosen = namedIn(environment);
  const usable = drivers.filter((driver) => !isBroken(driver)).length;
  const problems: Problem[] = [];
  const found = (what: string, remedy: string) => problems.push({ severity: "error", what, remedy });
  if (loader === undefined) {
    found("Vulkan's loader libvulkan.so.1 is not installed, so no driver can be found.", `Run ${LOADER}.`);
  }
  if (chosen !== undefined && usable === 0) {
    found(
      `The environment names the driver files ${chosen}, of which none is usable.`,
      NAME_ANOTHER,
    );
  } else if (usable === 0) {
    found(
      drivers.length === 0
        ? "No Vulkan driver is installed: no file in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d names one."
        : "No Vulkan driver is usable: every file that names one is broken.",
      cards.length > 0
        ? `For the card, ${remedyOfCard(system)}; to train on the processor instead, run ${SOFTWARE}.`
        : `To train on the processor, run ${SOFTWARE}.`,
    );
  } else if (loader !== undefined) {
    found(
      `No adapter was obtained, although driver files are there: ${
        drivers.map(({ path }) => path).join(", ")
      }.`,
      cards.length > 0
        ? `For the card, ${remedyOfCard(system)}.`
        : `There is no card for these drivers here. To train on the processor, run ${SOFTWARE}.`,
    );
  }
  return problems;
}

/** Names the driver files that are broken. */
function brokenDrivers({ system, adapter }: Findings): Problem[] {
  return system.drivers.filter(isBroken).map(({ path, problem }): Problem => ({
    severity: adapter ? "warning" : "error",
    ...problem === NO_FILE && namedIn(system.environment) !== undefined
      ? { what: `The driver file ${path}, which the environment names, is not there.`, remedy: NAME_ANOTHER }
      : {
        what: `The driver file ${path} is broken: ${problem}.`,
        remedy: "Install the package that it belongs to again, or remove it.",
      },
  }));
}

/** Says how a card is used that is there while the adapter runs on the processor, and what is wrong with OpenGL. */
function ignoredCard({ system, adapter, others }: Findings): Problem[] {
  const { cards, environment } = system;
  const problems: Problem[] = [];
  const found = (what: string, remedy: string) => problems.push({ severity: "warning", what, remedy });
  if (adapter?.kind === "software" && cards.length > 0) {
    const byCard = others?.find(({ by, adapter }) =>
      by !== "OpenGL" && adapter !== null && !/llvmpipe|lavapipe|swiftshader/i.test(adapter)
    );
    found(
      `The adapter runs on the processor, although there is a card (${cards.join(", ")}).`,
      byCard
        ? `Set VK_DRIVER_FILES=${byCard.by}, which gives ${byCard.adapter}.`
        : `To use it, ${remedyOfCard(system)}.`,
    );
    const gl = others?.find(({ by, adapter }) =>
      by === "OpenGL" && adapter !== null && !/llvmpipe|softpipe/i.test(adapter)
    );
    if (gl) {
      found(
        `The card can be reached through OpenGL alone (${gl.adapter}): its Vulkan driver is missing.`,
        `To use it, ${remedyOfCard(system)}; training does not use OpenGL.`,
      );
    }
  }
  if (environment.DENO_WEBGPU_BACKEND?.split(",").includes("gl")) {
    found(
      `DENO_WEBGPU_BACKEND is ${environment.DENO_WEBGPU_BACKEND}: with OpenGL nothing was ever tested.`,
      "Leave it unset, or set it to vulkan.",
    );
  }
  return problems;
}

/** Says why a software driver is slower than it could be. */
function slowSoftware({ adapter }: Findings): Problem[] {
  if (adapter?.kind !== "software" || adapter.subgroupsOf8) return [];
  return [{
    severity: "warning",
    what: "The driver has no subgroups of 8, so general forms of kernels run, which are slow.",
    remedy:
      "Use Mesa 25 or later on a processor with AVX, with 256-bit vectors (LP_NATIVE_VECTOR_WIDTH unset).",
  }];
}

/** Says why a card grants little memory. */
function smallMemory({ adapter, allocatableBytes }: Findings): Problem[] {
  if (adapter?.kind !== "gpu" || allocatableBytes === undefined || allocatableBytes >= SMALL_BYTES) return [];
  const mebibytes = Math.floor(allocatableBytes / 2 ** 20);
  return [{
    severity: "error",
    what:
      `The card grants ${mebibytes} MiB of buffers at once: other programs hold its memory, or it shows ` +
      "a small window of it, and what exceeds that is refused.",
    remedy:
      "Look at nvidia-smi; switch on Resizable BAR (Above 4G Decoding) in the machine's firmware, or use a newer Deno.",
  }];
}

/** Names the forms of kernels that compute wrong results. */
function wrongResults({ wrongForms = [] }: Findings): Problem[] {
  if (wrongForms.length === 0) return [];
  return [{
    severity: "error",
    what: `These forms of kernels miss the golden values here: ${wrongForms.join(", ")}.`,
    remedy:
      "Do not train with them: choose other forms, or update the driver; please report it with this text.",
  }];
}
