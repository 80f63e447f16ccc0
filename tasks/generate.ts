/**
 * Continues a prompt with the one expert that its prefix chooses.
 *
 *   deno task generate --run runs/a --prompt "Once upon a time"
 */
import { generate } from "../mod.ts";
import { runTask } from "./command.ts";
import { writeOut } from "./pipe.ts";
import { lines, readPrompt, routeLine } from "./prompt.ts";

if (import.meta.main) {
  await runTask({
    name: "generate",
    startsAnew: true,
    about:
      "Continues a prompt with the one expert that its prefix chooses; text goes to standard output as it comes.",
    run: async ({ options, signal }) => {
      const { chosenExpert, generationSeed: seed, noCache, model, ...rest } = options;
      const prompt = rest.prompt === "-" ? await readPrompt() : rest.prompt;
      const expert = chosenExpert === "" ? undefined : chosenExpert;
      const from = { ...rest, prompt, seed, expert, model: model || undefined };
      const generation = await generate({ ...from, cache: !noCache, signal });
      console.error(routeLine(generation, model));
      if (options.json) {
        const text = (await Array.fromAsync(generation)).join("");
        const { route, experts, promptTokens, tokens, finish } = generation;
        const routing = { margin: null, scores: null, ...route, expert: generation.expert, experts };
        console.log(
          JSON.stringify({ prompt, text, ...routing, promptTokens: [...promptTokens], tokens, finish }),
        );
      } else await writeOut(lines(generation)); // the signal ends the text itself, with its last line
      if (generation.finish === "context") {
        console.error(
          `the text ends with the model's context of ${generation.context} tokens; --window goes on`,
        );
      }
    },
  });
}
