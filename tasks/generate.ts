/**
 * Continues a prompt with the one expert that its prefix chooses, or with several that are mixed.
 *
 *   deno task generate --run runs/a --prompt "Once upon a time"
 */
import { MIXING } from "../pipeline/serving/mixing.ts";
import type { Change } from "../pipeline/serving/mod.ts";
import { SAMPLING } from "../pipeline/serving/sampling.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { forOutput } from "./layout.ts";
import { DEVICE, take } from "./options.ts";
import { changeLine, lines, readPrompt, routeLine } from "./prompt.ts";

const { flag, integer, path, section, text, texts } = field;

/** What is continued, with which model, and how tokens are chosen. */
const GENERATION = section("Command", {
  prompt: text({
    default: "-",
    value: "TEXT",
    help: "text to continue; - is standard input, without its last line break",
  }),
  expert: integer({ min: 0, max: 65_534, help: "expert to use instead of the routers' choice" }),
  model: path({ value: "FOLDER", help: "checkpoint to use instead of a run's experts, like runs/a/dense" }),
  ...MIXING,
  ...SAMPLING,
  stop: texts({ default: [], value: "TEXT", help: "text to stop before; may be repeated" }),
  window: flag({ help: "beyond the context, go on from its later half; without it the text ends there" }),
  ...take("memory", "beam"),
  noCache: flag({ help: "read the whole text again for every token; slower, the same text" }),
});

export const TASK = await defineTask({
  name: "generate",
  startsAnew: true,
  options: { ...take("run"), ...DEVICE, ...GENERATION },
  run: async ({ options, signal, tell }) => {
    const prompt = options.prompt === "-" ? await readPrompt() : options.prompt;
    const onChange = (change: Change) => tell(changeLine(change));
    const more = { cache: !options.noCache, onChange, signal };
    const { generate } = await import("../pipeline/serving/mod.ts"); // loads what generates
    const generation = await generate({ ...options, ...more, prompt });
    tell(routeLine(generation, options.model));
    const { answering } = generation; // at the beginning
    if (options.json) {
      const text = (await Array.fromAsync(generation)).join("");
      const { route, expert, experts, changes, tokens, finish } = generation;
      const promptTokens = [...generation.promptTokens];
      const routing = { margin: null, scores: null, ...route, expert, experts, answering, changes };
      console.log(forOutput(JSON.stringify({ prompt, text, ...routing, promptTokens, tokens, finish })));
    } else { // the signal ends the text itself, with its last line
      await ReadableStream.from(lines(generation, forOutput)).pipeTo(Deno.stdout.writable);
    }
    if (generation.finish === "context") {
      tell(`the text ends with the model's context of ${generation.context} tokens; --window goes on`);
    }
  },
}, import.meta);
