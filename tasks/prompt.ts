/**
 * Reads prompts and lays out what is told of their continuation.
 *
 * @module
 */

import { type Generation, InputError, SAMPLING } from "../mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { say, setting } from "../kernels/mod.ts";

const { custom, flag, integer, path, section, text, texts } = field;

const UNITS: Record<string, number> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Reads a number of bytes such as `2GiB`; none for "". */
function parseBytes(text: string): number | undefined {
  if (text === "") return undefined;
  const [, number, unit] = /^(\d+(?:\.\d+)?)([KMG]iB)?$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * UNITS[unit ?? ""];
  throw new InputError(
    say`Cannot limit ${setting("memory")} as it must be a size like 512MiB or 2GiB: it is "${text}"`,
  );
}

/** What is continued, with which model, and how tokens are chosen. */
export const GENERATION = section("Command", {
  prompt: text({
    default: "-",
    value: "TEXT",
    help: "text to continue; - is standard input, without its last line break",
  }),
  expert: integer({ min: 0, max: 65_534, help: "expert to use instead of the routers' choice" }),
  model: path({ value: "FOLDER", help: "checkpoint to use instead of a run's experts, like runs/a/dense" }),
  ...SAMPLING,
  stop: texts({ default: [], value: "TEXT", help: "text to stop before; may be repeated" }),
  window: flag({ help: "beyond the context, go on from its later half; without it the text ends there" }),
  memory: custom(parseBytes, {
    value: "SIZE",
    help: "most device memory that models may take, like 2GiB; without it as much as they need",
  }),
  noCache: flag({ help: "read the whole text again for every token; slower, the same text" }),
});

/** Says which expert continues the prompt, and how sure that is. */
export function routeLine({ route, expert, experts }: Generation, model?: string): string {
  if (expert === null) return `model ${model}`;
  const name = `expert ${expert} of ${experts}`;
  if (route === null) return `${name}: as asked`;
  if (route.runnerUp === null) return `${name}: the only one`;
  if (route.prefixTokens === 1) return `${name}: one token alone is no evidence`;
  return `${name}: ${route.margin.toFixed(1)} nats ahead of expert ${route.runnerUp} ` +
    `(${route.marginPerToken.toFixed(2)} per token) over ${route.prefixTokens} prefix tokens`;
}

/** Reads the prompt from standard input; its last line break is not part of it. */
export async function readPrompt(): Promise<string> {
  if (Deno.stdin.isTerminal()) {
    throw new InputError("Cannot continue a prompt as there must be one: there is none", {
      remedy: "set --prompt, or send it to standard input",
    });
  }
  const bytes = await new Response(Deno.stdin.readable).bytes();
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, "");
  } catch {
    throw new InputError("Cannot continue a prompt as standard input must be UTF-8: it is not");
  }
}

/** The text as bytes, with a line break at its end, also where an error ends it. */
export async function* lines(text: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let some = false;
  try {
    for await (const piece of text) {
      some = true;
      yield encoder.encode(piece);
    }
  } catch (error) {
    if (some) yield encoder.encode("\n");
    throw error;
  }
  yield encoder.encode("\n");
}
