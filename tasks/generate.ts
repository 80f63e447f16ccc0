/**
 * Continues a prompt with the one expert that its prefix chooses, or with several that are mixed.
 *
 *   deno task generate --run runs/a --prompt "Once upon a time"
 */
import { percent } from "../pipeline/graph/numbers.ts";
import { ensure, InputError } from "../kernels/errors.ts";
import { MIXING } from "../pipeline/serving/mixing.ts";
import type { Answering, Change, Generation, Route } from "../pipeline/serving/mod.ts";
import { SAMPLING } from "../pipeline/serving/sampling.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Baseline } from "../pipeline/evaluation/mod.ts";
import { defineTask } from "./cli/command.ts";
import { FALLBACK, readFallbackOption } from "./cli/fallback.ts";
import { counted, forOutput } from "./cli/layout.ts";
import { DEVICE, take } from "./cli/options.ts";

/** Reports which expert or experts continue the prompt, and how sure the choice is. */
function routeLine(
  { route, expert, experts, answering }: Generation,
  { model, fallback }: { model?: string; fallback?: Baseline },
): string {
  if (expert === null && route !== null) {
    const ahead = `${route.margin.toPrecision(3)} ahead of expert ${route.runnerUp}`;
    return `model ${fallback}, as the routers are unsure: expert ${route.expert} is only ${ahead}`;
  }
  if (expert === null) return `model ${model}`;
  const name = `${nameExperts(answering)} of ${experts}`;
  if (route === null) return `${name}: as asked`;
  if (route.runnerUp === null) return `${name}: the only one`;
  const { prefixTokens, cost } = route;
  if (prefixTokens === 1 && cost === undefined) return `${name}: one token alone is no evidence`;
  return `${name}: ${sureness(route, answering)} over ${counted(prefixTokens, "prefix tokens")}`;
}

/**
 * Reports which experts continue the text from here, after how many new tokens, and how sure the
 * choice is.
 */
function changeLine({ tokens, answering, route }: Change): string {
  const place = `after ${counted(tokens, "new tokens")}`;
  const read = `the last ${counted(route.prefixTokens, "tokens")}`;
  return `${nameExperts(answering)} ${place}: ${sureness(route, answering)} over ${read}`;
}

function nameExperts(answering: readonly Answering[]): string {
  const shares = answering.map(({ expert, weight }) => `${expert} (${percent(weight)})`);
  return answering.length === 1
    ? `expert ${answering[0].expert}`
    : `experts ${shares.join(" and ")}`;
}

function sureness(route: Route, answering: readonly Answering[]): string {
  const { expert, margin, runnerUp, marginPerToken, scores, cost } = route;
  const isOne = answering.length === 1;
  if (cost === undefined) {
    const perToken = `${marginPerToken.toFixed(2)} per predicted token`;
    const ahead = `${margin.toFixed(1)} nats ahead of expert ${runnerUp} (${perToken})`;
    return isOne ? ahead : `expert ${expert} is ${ahead}`;
  }
  const [rounded, less] = [-scores[expert], margin].map((value) => Number(value.toPrecision(3)));
  const reported = `${cost} ${rounded}, ${less} less than that of expert ${runnerUp},`;
  return isOne ? reported : `expert ${expert} has the ${reported}`;
}

/** Reads the prompt from standard input, without its last line break. */
async function readPrompt(): Promise<string> {
  ensure(!Deno.stdin.isTerminal(), "Cannot continue a prompt as there must be one: there is none", {
    remedy: "set --prompt, or send it to standard input",
  });
  const bytes = await new Response(Deno.stdin.readable).bytes();
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(
      /\r?\n$/,
      "",
    );
  } catch {
    throw new InputError("Cannot continue a prompt as standard input must be UTF-8: it is not");
  }
}

/**
 * Encodes a text that comes in pieces, each as `shown` gives it, and ends it with a line break,
 * also where an error ends it.
 */
export async function* encodeLines(
  text: AsyncIterable<string>,
  shown = (piece: string) => piece,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let some = false;
  let held = ""; // a carriage return, until it is known whether a line feed follows
  try {
    for await (const piece of text) {
      some = true;
      const whole = held + piece;
      held = whole.endsWith("\r") ? "\r" : "";
      yield encoder.encode(shown(whole.slice(0, whole.length - held.length)));
    }
    if (held !== "") yield encoder.encode(shown(held));
  } catch (error) {
    if (some) yield encoder.encode(`${shown(held)}\n`);
    throw error;
  }
  yield encoder.encode("\n");
}

export const TASK = await defineTask({
  name: "generate",
  startsAnew: true,
  options: {
    ...take("run"),
    ...DEVICE,
    prompt: field.text(
      { default: "-", value: "TEXT" },
      "text to continue; - is standard input, without its last line break",
    ),
    expert: field.integer({ min: 0, max: 65_534 }, "expert to use instead of the routers' choice"),
    model: field.path(
      { value: "FOLDER" },
      "checkpoint to use instead of a run's experts, like runs/a/dense",
    ),
    ...FALLBACK,
    ...MIXING,
    ...SAMPLING,
    stop: field.texts({ default: [], value: "TEXT" }, "text to stop before; may be repeated"),
    window: field.flag(
      "beyond the context, go on from its later half; without it the text ends there",
    ),
    ...take("memory", "readEvery", "beam"),
    noCache: field.flag("read the whole text again for every token; slower, the same text"),
  },
  run: async ({ options, signal, tell }) => {
    const prompt = options.prompt === "-" ? await readPrompt() : options.prompt;
    const onChange = (change: Change) => tell(changeLine(change));
    const decoding = { cache: !options.noCache, onChange, signal };
    const { generate } = await import("../pipeline/serving/mod.ts"); // loads what generates
    const fallback = await readFallbackOption(options);
    const generation = await generate({ ...options, ...decoding, fallback, prompt });
    tell(routeLine(generation, options));
    const { answering } = generation; // at the beginning
    if (options.json) {
      const text = (await Array.fromAsync(generation)).join("");
      const { route, expert, experts, changes, tokens, finish } = generation;
      const promptTokens = [...generation.promptTokens];
      const routing = { margin: null, scores: null, ...route, expert, experts, answering, changes };
      console.log(
        forOutput(JSON.stringify({ prompt, text, ...routing, promptTokens, tokens, finish })),
      );
    } else { // the signal ends the text itself, with its last line
      await ReadableStream.from(encodeLines(generation, forOutput)).pipeTo(Deno.stdout.writable);
    }
    if (generation.tokens.length === 0) {
      tell("the answer is empty: the text ends where the prompt does");
    }
    if (generation.finish === "context") {
      tell(
        `the text ends with the model's context of ${generation.context} tokens; --window goes on`,
      );
    }
  },
}, import.meta);
