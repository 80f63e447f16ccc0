/**
 * Continues a prompt with the one expert that its prefix chooses.
 *
 *   deno task generate --run runs/a --prompt "Once upon a time"
 */
import { generate } from "../mod.ts";
import { defineTask } from "./command.ts";
import { DEVICE, RUN } from "./options.ts";
import { writeOut } from "./pipe.ts";
import { GENERATION, lines, readPrompt, routeLine } from "./prompt.ts";

export const TASK = await defineTask({
  name: "generate",
  startsAnew: true,
  about:
    "Continues a prompt with the one expert that its prefix chooses; text goes to standard output as it comes.",
  options: { ...RUN, ...DEVICE, ...GENERATION },
  run: async ({ options, signal, tell }) => {
    const prompt = options.prompt === "-" ? await readPrompt() : options.prompt;
    const generation = await generate({ ...options, prompt, cache: !options.noCache, signal });
    tell(routeLine(generation, options.model));
    if (options.json) {
      const text = (await Array.fromAsync(generation)).join("");
      const { route, expert, experts, tokens, finish } = generation;
      const promptTokens = [...generation.promptTokens];
      const routing = { margin: null, scores: null, ...route, expert, experts };
      console.log(JSON.stringify({ prompt, text, ...routing, promptTokens, tokens, finish }));
    } else await writeOut(lines(generation)); // the signal ends the text itself, with its last line
    if (generation.finish === "context") {
      tell(
        `the text ends with the model's context of ${generation.context} tokens; --window goes on`,
      );
    }
  },
}, import.meta);
