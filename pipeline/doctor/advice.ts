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
    ...ofAdapter(findings),
  ];
  return problems.sort((a, b) => Number(a.severity === "warning") - Number(b.severity === "warning"));
}

const error = (what: string, remedy: string): Problem => ({ severity: "error", what, remedy });
const warning = (what: string, remedy: string): Problem => ({ severity: "warning", what, remedy });

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
function* withoutAdapter(system: System): Generator<Problem> {
  const { cards, loader, drivers, environment } = system;
  const named = namedIn(environment);
  const forCard = cards.length > 0 ? `For the card, ${remedyOfCard(system)}` : undefined;
  const onProcessor = `o train on the processor, run ${SOFTWARE}.`;
  if (loader === undefined) {
    yield error(
      "Vulkan's loader libvulkan.so.1 is not installed, so no driver can be found.",
      `Run ${LOADER}.`,
    );
  }
  if (drivers.every(isBroken)) {
    if (named !== undefined) {
      yield error(`The environment names the driver files ${named}, of which none is usable.`, NAME_ANOTHER);
    } else {
      yield error(
        drivers.length === 0
          ? "No Vulkan driver is installed: no file in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d names one."
          : "No Vulkan driver is usable: every file that names one is broken.",
        forCard ? `${forCard}; to train on the processor instead, run ${SOFTWARE}.` : `T${onProcessor}`,
      );
    }
  } else if (loader !== undefined) {
    yield error(
      `No adapter was obtained, although driver files are there: ${
        drivers.map(({ path }) => path).join(", ")
      }.`,
      forCard ? `${forCard}.` : `There is no card for these drivers here. T${onProcessor}`,
    );
  }
}

/** Names the driver files that are broken. */
function brokenDrivers({ system, adapter }: Findings): Problem[] {
  const say = adapter ? warning : error;
  return system.drivers.filter(isBroken).map(({ path, problem }) =>
    problem === NO_FILE && namedIn(system.environment) !== undefined
      ? say(`The driver file ${path}, which the environment names, is not there.`, NAME_ANOTHER)
      : say(
        `The driver file ${path} is broken: ${problem}.`,
        "Install the package that it belongs to again, or remove it.",
      )
  );
}

/** Says how a card is used that is there while the adapter runs on the processor, and what is wrong with OpenGL. */
function* ignoredCard({ system, adapter, others = [] }: Findings): Generator<Problem> {
  const { cards, environment: { DENO_WEBGPU_BACKEND: backend } } = system;
  if (adapter?.kind === "software" && cards.length > 0) {
    const isCard = ({ adapter }: FoundAdapter) =>
      adapter !== null && !/llvmpipe|lavapipe|softpipe|swiftshader/i.test(adapter);
    const byVulkan = others.find((other) => other.by !== "OpenGL" && isCard(other));
    const byGl = others.find((other) => other.by === "OpenGL" && isCard(other));
    yield warning(
      `The adapter runs on the processor, although there is a card (${cards.join(", ")}).`,
      byVulkan
        ? `Set VK_DRIVER_FILES=${byVulkan.by}, which gives ${byVulkan.adapter}.`
        : `To use it, ${remedyOfCard(system)}.`,
    );
    if (byGl) {
      yield warning(
        `The card can be reached through OpenGL alone (${byGl.adapter}): its Vulkan driver is missing.`,
        `To use it, ${remedyOfCard(system)}; training does not use OpenGL.`,
      );
    }
  }
  if (backend?.split(",").includes("gl")) {
    yield warning(
      `DENO_WEBGPU_BACKEND is ${backend}: with OpenGL nothing was ever tested.`,
      "Leave it unset, or set it to vulkan.",
    );
  }
}

/** Says what is wrong with the adapter itself: a slow driver, little memory, wrong results. */
function* ofAdapter({ adapter, allocatableBytes, wrongForms = [] }: Findings): Generator<Problem> {
  if (adapter?.kind === "software" && !adapter.subgroupsOf8) {
    yield warning(
      "The driver has no subgroups of 8, so general forms of kernels run, which are slow.",
      "Use Mesa 25 or later on a processor with AVX, with 256-bit vectors (LP_NATIVE_VECTOR_WIDTH unset).",
    );
  }
  if (adapter?.kind === "gpu" && allocatableBytes !== undefined && allocatableBytes < SMALL_BYTES) {
    yield error(
      `The card grants ${
        Math.floor(allocatableBytes / 2 ** 20)
      } MiB of buffers at once: other programs hold its ` +
        "memory, or it shows a small window of it, and what exceeds that is refused.",
      "Look at nvidia-smi; switch on Resizable BAR (Above 4G Decoding) in the machine's firmware, or use a newer Deno.",
    );
  }
  if (wrongForms.length > 0) {
    yield error(
      `These forms of kernels miss the golden values here: ${wrongForms.join(", ")}.`,
      "Do not train with them: choose other forms, or update the driver; please report it with this text.",
    );
  }
}
