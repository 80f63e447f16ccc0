/**
 * Reports what is wrong with a machine that is to train on a GPU, and what to do, from what was
 * found on it. Warns also as work begins, where it runs on the processor although a GPU was to be
 * expected, and where products in f16 lost values.
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind, Offers, Variants } from "../../kernels/device/variants.ts";
import { say, setting, task, type Text } from "../../kernels/errors.ts";
import { modelShapes } from "../model/shape.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { PRESETS } from "../settings/resolution.ts";
import type { BitsResult } from "./bits.ts";
import type { GoldenResult } from "./golden.ts";
import { type FoundAdapter, listCards, NO_FILE, type System } from "./system.ts";

/**
 * Something that is wrong: `error`, nothing can be trained, or `warning`, training is slow or may
 * be wrong; what it is, and what to do, a sentence each.
 */
export type DoctorProblem = { severity: "error" | "warning" } & Record<"what" | "remedy", string>;

/** What {@linkcode listAdvice} takes. */
export interface MachineFindings {
  system: System; // what the system shows
  /** What there is to say of the adapter that was handed out; undefined where there is none. */
  adapter?: {
    kind: AdapterKind;
    offers: Pick<Offers, "subgroupsOf8">;
    memory: { allocatable: number; largest: number };
    golden: readonly Pick<GoldenResult, "variants" | "dtype" | "model" | "right">[];
    bits: readonly BitsResult[];
  };
  // What each driver hands out alone; undefined where nobody could ask.
  others?: readonly FoundAdapter[];
}

/**
 * Less memory than a training of any size needs. A device that grants no more makes only a small
 * window of its memory visible.
 */
const SMALL_BYTES = 1.5 * 2 ** 30;

/** Single buffers of cards that show all of their memory are larger. */
const SMALL_WINDOW = 2 ** 29;
const WINDOW = "Look at nvidia-smi; switch on Resizable BAR (Above 4G Decoding) in the " +
  "machine's firmware, or use a newer Deno.";

const mebibytes = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;

/** Commands that install what is missing. */
const LOADER = "apt-get install libvulkan1";
const SOFTWARE = "apt-get install mesa-vulkan-drivers libvulkan1";
const OTHER_CARD =
  "install the card's Vulkan driver (for AMD and Intel cards mesa-vulkan-drivers), " +
  "and let the user into the groups video and render";
const NVIDIA = "install the driver's Vulkan part (on Debian and Ubuntu libnvidia-gl-XXX or " +
  "libnvidia-gl-XXX-server of the same " +
  "version as the kernel's driver, with libegl1 and libxext6)";
const IN_CONTAINER =
  "start the container with NVIDIA_DRIVER_CAPABILITIES=graphics,utility (container " +
  "toolkit 1.18 or later, libegl1 in the image)";
const IN_APPTAINER =
  "start the container with APPTAINER_NV=1, and with APPTAINER_BIND naming the " +
  "driver's file of the host, which the former may leave out " +
  "(/usr/share/vulkan/icd.d/nvidia_icd.json, on some hosts in /etc/vulkan/icd.d); " +
  "the image needs libegl1 and libxext6";
const OTHER_WAY_IN = "Install what it names; or copy the file, name libEGL_nvidia.so.0 in it " +
  "instead of libGLX_nvidia.so.0, which needs no libraries of X11, and set VK_DRIVER_FILES to it.";
const NAME_ANOTHER = "Name a file that is, or leave VK_DRIVER_FILES and VK_ICD_FILENAMES unset.";

/** Reports what makes the card of a machine usable. */
function remedyOfCard({ cards, nvidia, container, environment }: System): string {
  if (nvidia === undefined && !cards.some((card) => card.startsWith("/dev/nvidia"))) {
    return OTHER_CARD;
  }
  if (container === "Apptainer") return IN_APPTAINER;
  return container || environment.NVIDIA_DRIVER_CAPABILITIES !== undefined ? IN_CONTAINER : NVIDIA;
}

/** Words variants as they are chosen. */
export function wordVariants(variants: Variants): string {
  return Object.entries(variants).map((pair) => pair.join("=")).join(",");
}

/** An error or a warning, which is reported where `when` holds. */
type Rule = { when: unknown; remedy: string } & Partial<Record<DoctorProblem["severity"], string>>;

/** Lists what is wrong, the worst first. */
export function listAdvice(findings: MachineFindings): DoctorProblem[] {
  const rules = [...ofDrivers(findings), ...ofCard(findings), ...ofAdapter(findings)];
  const problems = rules.filter(({ when }) => when).map((
    { error, warning = "", remedy },
  ): DoctorProblem =>
    error === undefined
      ? { severity: "warning", what: warning, remedy }
      : { severity: "error", what: error, remedy }
  );
  return problems.sort((a, b) =>
    Number(a.severity === "warning") - Number(b.severity === "warning")
  );
}

/**
 * Why no adapter was handed out (the loader, the drivers or the card is missing), and which driver
 * files are broken.
 */
function ofDrivers({ system, adapter }: MachineFindings): Rule[] {
  const { cards, loader, drivers, environment } = system;
  const named = environment.VK_DRIVER_FILES ?? environment.VK_ICD_FILENAMES;
  const noneUsable = drivers.every(({ problem }) => problem !== undefined);
  const files = drivers.map(({ path }) => path).join(", ");
  const forCard = cards.length > 0 && `For the card, ${remedyOfCard(system)}`;
  const onProcessor = `o train on the processor, run ${SOFTWARE}.`;
  return [
    {
      when: !adapter && loader === undefined,
      error: "Vulkan's loader libvulkan.so.1 is not installed, so no driver can be found.",
      remedy: `Run ${LOADER}.`,
    },
    {
      when: !adapter && noneUsable && named !== undefined,
      error: `The environment names the driver files ${named}, of which none is usable.`,
      remedy: NAME_ANOTHER,
    },
    {
      when: !adapter && noneUsable && named === undefined,
      error: drivers.length === 0
        ? "No Vulkan driver is installed: no file in /usr/share/vulkan/icd.d or " +
          "/etc/vulkan/icd.d names one."
        : "No Vulkan driver is usable: every file that names one is broken.",
      remedy: forCard
        ? `${forCard}; to train on the processor instead, run ${SOFTWARE}.`
        : `T${onProcessor}`,
    },
    {
      when: !adapter && !noneUsable && loader !== undefined,
      error: `No adapter was obtained, although driver files are there: ${files}.`,
      remedy: forCard ? `${forCard}.` : `There is no card for these drivers here. T${onProcessor}`,
    },
    ...drivers.map(({ path, problem }): Rule => {
      const isAway = problem === NO_FILE && named !== undefined;
      return {
        when: problem,
        [adapter ? "warning" : "error"]: isAway
          ? `The driver file ${path}, which the environment names, is not there.`
          : `The driver file ${path} is broken: ${problem}.`,
        remedy: isAway
          ? NAME_ANOTHER
          : "Install the package that it belongs to again, or remove it.",
      };
    }),
  ];
}

/**
 * How a card is used that is there while the adapter runs on the processor, and what is wrong with
 * OpenGL.
 */
function ofCard({ system, adapter, others = [] }: MachineFindings): Rule[] {
  const silent = others.filter(({ adapter, words }) => adapter === null && words !== undefined);
  const { cards, environment: { DENO_WEBGPU_BACKEND: backend } } = system;
  const isIgnored = adapter?.kind === "software" && cards.length > 0;
  const ofCards = others.filter(({ adapter }) =>
    adapter !== null && !/llvmpipe|lavapipe|softpipe|swiftshader/i.test(adapter)
  );
  const byVulkan = ofCards.find(({ by }) => by !== "OpenGL");
  const byGl = ofCards.find(({ by }) => by === "OpenGL");
  return [
    {
      when: isIgnored,
      warning: `The adapter runs on the processor, although there is a card (${cards.join(", ")}).`,
      remedy: byVulkan
        ? `Set VK_DRIVER_FILES=${byVulkan.by}, which gives ${byVulkan.adapter}.`
        : `To use it, ${remedyOfCard(system)}.`,
    },
    ...silent.map(({ by, words }): Rule => ({
      when: cards.length > 0,
      warning: `The driver ${by} hands out no adapter. Vulkan's loader says: ${words}.`,
      remedy: /nvidia/i.test(by) ? OTHER_WAY_IN : "Install what it names.",
    })),
    {
      when: isIgnored && byGl,
      warning: `The card can be reached through OpenGL alone (${byGl?.adapter}): its Vulkan ` +
        "driver is missing.",
      remedy: `To use it, ${remedyOfCard(system)}; training does not use OpenGL.`,
    },
    {
      when: backend?.split(",").includes("gl"),
      warning: `DENO_WEBGPU_BACKEND is ${backend}: with OpenGL nothing was ever tested.`,
      remedy: "Leave it unset, or set it to vulkan.",
    },
  ];
}

/** What is wrong with the adapter itself: a slow driver, little memory, wrong results. */
function ofAdapter({ adapter }: MachineFindings): Rule[] {
  if (!adapter) return [];
  const { kind, offers, memory: { allocatable, largest }, golden, bits } = adapter;
  const wrong = golden.filter(({ right }) => !right)
    .map(({ variants, dtype, model }) => `${wordVariants(variants)} in ${dtype} (${model})`);
  return [
    {
      when: kind === "software" && !offers.subgroupsOf8,
      warning:
        "The driver has no subgroups of 8, so general variants of kernels run, which are slow.",
      remedy: "Use Mesa 25 or later on a processor with AVX, with 256-bit vectors " +
        "(LP_NATIVE_VECTOR_WIDTH unset).",
    },
    {
      when: kind === "gpu" && allocatable < SMALL_BYTES,
      error: `The card grants ${mebibytes(allocatable)} of buffers at once: ` +
        "other programs hold its memory, or it shows a small window of it, and what " +
        "exceeds that is refused.",
      remedy: WINDOW,
    },
    {
      when: kind === "gpu" && allocatable >= SMALL_BYTES && largest < SMALL_WINDOW,
      warning: `The card grants ${mebibytes(allocatable)} of buffers at once, but single ` +
        `buffers of at most ${mebibytes(largest)}: it shows a small window of its memory. ` +
        "Models with larger tensors cannot be trained on it.",
      remedy: WINDOW,
    },
    {
      when: wrong.length > 0,
      error: `These variants of kernels miss the golden values here: ${wrong.join(", ")}.`,
      remedy: "Do not train with them: choose other variants, or update the driver; please " +
        "report it with this text.",
    },
    ...bits.filter(({ equal }) => !equal).map(({ ways }): Rule => ({
      when: true,
      warning: `The driver gives other bits for ${ways}. Results are right within rounding, but ` +
        "other batch sizes and devices will not give the same bytes.",
      remedy: "Update the driver, and make all of a run on machines of one kind; please report " +
        "it with this text.",
    })),
  ];
}

/** The presets whose experts are those of the paper. */
const PAPER = Object.entries(PRESETS).filter(([name]) => name.startsWith("paper-"));

/**
 * Warns of an adapter that runs on the processor if the system shows a card. Also if the experts
 * have the shape of one of the paper's; otherwise undefined. `cards` are asked of the system unless
 * given.
 */
export async function processorWarning(
  { adapter, kind }: Pick<Gpu, "adapter" | "kind">,
  configuration: Configuration,
  cards?: readonly string[],
): Promise<Text | undefined> {
  if (kind !== "software") return undefined;
  const { expert } = modelShapes(configuration);
  const preset = PAPER.find(([, values]) => {
    const { expert: { hidden, layers, heads } } = modelShapes({
      ...defaultConfiguration(),
      ...values,
    });
    return hidden === expert.hidden && layers === expert.layers && heads === expert.heads;
  })?.[0];
  const visible = cards ?? await listCards();
  if (visible.length === 0 && preset === undefined) return undefined;
  const reason = visible.length > 0
    ? `although the system shows a card (${visible.join(", ")})`
    : `and the experts have the shape of ${preset}, which takes weeks there`;
  return say`the adapter "${adapter}" runs on the processor, ${reason}; ${
    task("doctor")
  } tells what is wrong, ${setting("requireGpu")} stops instead`;
}

/** Reports how many values products in f16 could not hold; undefined where they held all. */
export function saturationWarning(values: number): Text | undefined {
  if (values === 0) return undefined;
  const problem = `products in f16 took ${values} values beyond 65,504 as 65,504`;
  return say`${problem}: results are off; ${
    setting("variants", "matmul=workgroup")
  } multiplies in f32`;
}
