/**
 * Trains experts, each on its own part alone.
 *
 *   deno task train-expert --run runs/docs --expert 2
 */
import { expertsOf, trainExpert, type TrainResult } from "../mod.ts";
import { runTask } from "./command.ts";
import { trainedText } from "./text.ts";

if (import.meta.main) {
  await runTask({
    name: "train-expert",
    about:
      "Trains one expert, or all one after another, each on its own part of a partitioned run and nothing else.",
    run: async ({ sources, options, signal, onEvent }) => {
      const { run, expert, json } = options;
      const wanted = expert === "all"
        ? Array.from({ length: await expertsOf(run) }, (_, i) => i)
        : [parseExpert(expert, await expertsOf(run))];
      const results: TrainResult[] = [];
      for (const id of wanted) {
        results.push(await trainExpert(id, { ...options, run, sources, signal, onEvent }));
      }
      console.log(json ? JSON.stringify({ run, models: results }, null, 2) : trainedText(run, results));
    },
  });
}

function parseExpert(text: string, experts: number): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new RangeError(
    `Cannot train as --expert must be one of 0 to ${experts - 1}, or all: it is ${
      text === "" ? "not given" : `"${text}"`
    }`,
  );
}
