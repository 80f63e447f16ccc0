/**
 * Shows what compilers make of the variants for GPUs, without a GPU: SPIR-V of Deno's compiler,
 * whether it is valid, and what a driver needs for it in registers and private memory.
 *
 *   deno task bench:compiled [--on FAMILY|own] [--variants KERNEL=VARIANT,…] [--json]
 *
 * @module
 */

import { parseVariants, VARIANTS, type Variants } from "../../../kernels/device/variants.ts";
import { benchFlags } from "../flags.ts";
import { inProcess } from "../stage_process.ts";
import { columns, digits } from "../text.ts";
import { countLoopsOf, type LoopCounts } from "./loops.ts";
import { type CompiledText, compileTexts, listTexts } from "./texts.ts";
import type { DriverStatistics } from "./vulkan.ts";

const ABOUT =
  `Compiles every text of the variants for GPUs and tells what becomes of it: whether its SPIR-V is valid (spirv-val of the package
spirv-tools), its loops, the clamps of indices in the innermost ones and the additions of products that a driver may
fuse, and registers, spills and private memory as a driver counts them. Needs one of Mesa's drivers, which writes SPIR-V down, but no card.

--on names AMD cards that Mesa's driver RADV compiles for without one; own asks the machine's first Vulkan device instead
--variants takes other variants than those for GPUs, KERNEL=VARIANT,…`;

/** What is known of a text. */
export interface Compiled extends Pick<CompiledText, "label" | "sizes"> {
  /** Size of its SPIR-V. */
  bytes: number;
  /** What spirv-val says: "" where it is valid, undefined where there is no such program. */
  invalid?: string;
  /** Loops and clamps in it; undefined where there is no spirv-dis. */
  counts?: LoopCounts;
  /** What the driver says, by its own names. */
  statistics?: Record<string, number>;
}

const FOLDERS = ["/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"];

/** Finds the file by which the loader finds RADV. */
function radvDriver(): string | undefined {
  for (const folder of FOLDERS) {
    try {
      const found = Array.from(Deno.readDirSync(folder)).find(({ name }) =>
        name.startsWith("radeon_icd")
      );
      if (found) return `${folder}/${found.name}`;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Asks a driver about SPIR-V; undefined where there is none to ask. */
export async function statisticsOf(
  files: readonly string[],
  on: string,
): Promise<DriverStatistics | undefined> {
  const driver = on === "own" ? undefined : radvDriver();
  if (on !== "own" && driver === undefined) return undefined;
  const env: Record<string, string> = driver === undefined
    ? {}
    : { VK_DRIVER_FILES: driver, RADV_FORCE_FAMILY: on, RADV_DEBUG: "nocache" };
  const flags = ["--allow-ffi", "--allow-read"];
  return JSON.parse(
    await inProcess(import.meta.resolve("./vulkan.ts"), { env, flags }, [...files]),
  );
}

/**
 * Reports what is wrong with SPIR-V, "" where nothing is; undefined where the program is not
 * installed.
 */
async function invalidity(file: string): Promise<string | undefined> {
  try {
    const { stderr, stdout } = await new Deno.Command("spirv-val", {
      args: ["--target-env", "vulkan1.3", file],
    }).output();
    return new TextDecoder().decode(new Uint8Array([...stdout, ...stderr])).trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Compiles the texts of some variants and tells what becomes of them. */
export async function examine(
  variants: Variants,
  on: string,
): Promise<{ device?: string; texts: Compiled[] }> {
  const folder = await Deno.makeTempDir({ prefix: "compiled-" });
  try {
    const texts = await compileTexts(listTexts(variants), folder);
    const driver = await statisticsOf(texts.map(({ file }) => file), on);
    return {
      device: driver?.device,
      texts: await Promise.all(texts.map(async ({ label, sizes, file }, i) => {
        const { size: bytes } = await Deno.stat(file);
        return {
          label,
          sizes,
          bytes,
          invalid: await invalidity(file),
          counts: await countLoopsOf(file),
          statistics: driver?.texts[i],
        };
      })),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Statistics that tables show, where a driver has them: RADV's names. */
const SHOWN = [
  "VGPRs",
  "Spilled VGPRs",
  "Scratch size",
  "LDS size",
  "Subgroups per SIMD",
  "Code size",
];

/** Lays the texts out. */
function compiledText({ device, texts }: Awaited<ReturnType<typeof examine>>): string {
  const shown = SHOWN.filter((name) =>
    texts.some(({ statistics }) => statistics?.[name] !== undefined)
  );
  const rows = texts.map(({ label, sizes, bytes, invalid, counts, statistics }) => [
    label,
    sizes.join(", "),
    digits(bytes, 1),
    invalid === undefined ? "not asked" : invalid === "" ? "valid" : "INVALID",
    ...[counts?.loops, counts?.clamps, counts?.fusible].map((count) => String(count ?? "")),
    ...shown.map((name) => String(statistics?.[name] ?? "")),
  ]);
  return [
    device === undefined
      ? "no driver asked: RADV is not installed (package mesa-vulkan-drivers)"
      : `registers as ${device} needs them`,
    columns(
      [["kernel", "of", "bytes", "SPIR-V", "loops", "clamps", "fusible", ...shown], ...rows],
      `llrlrrr${shown.map(() => "r").join("")}`,
    ),
    ...texts.filter(({ invalid }) => invalid).map(({ label, invalid }) => `${label}: ${invalid}`),
  ].join("\n");
}

if (import.meta.main) {
  const flags = benchFlags(ABOUT, { on: "navi31", variants: "", json: false });
  const result = await examine({ ...VARIANTS.gpu, ...parseVariants(flags.variants) }, flags.on);
  console.log(flags.json ? JSON.stringify(result, null, 2) : compiledText(result));
}
