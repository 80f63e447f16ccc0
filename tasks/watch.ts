/**
 * Watches the trainings of a run, wherever they work.
 *
 *   deno task watch --run runs/a
 */
import { InputError, say, setting } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { openTrainings, type Training } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { take } from "./options.ts";
import { openScreen, pause } from "./screen.ts";
import { isTrained } from "./slurm_view.ts";
import { newLines, terminalRoom, watchText } from "./watch_text.ts";

export const TASK = await defineTask({
  name: "watch",
  startsAnew: true,
  options: {
    ...take("run"),
    once: field.flag({ help: "look once and end; so does --json" }),
    follow: field.flag({ help: "go on when the run's trainings are complete" }),
    every: field.number({
      min: 0.1,
      max: 86_400,
      help: "seconds between two looks; 2 on a terminal, else 60",
    }),
  },
  run: async ({ options, signal, print }) => {
    const { run, once, json, follow } = options;
    if (follow && (once || json)) {
      const other = setting(once ? "once" : "json");
      throw new InputError(
        say`Cannot watch as only one of ${setting("follow")} and ${other} may be given: both are`,
      );
    }
    const trainings = await openTrainings(run);
    if (once || json) {
      const now = await trainings.read();
      return print({ run, trainings: now }, watchText(run, now));
    }
    const screen = Deno.stdout.isTerminal() ? openScreen() : undefined;
    const every = options.every ?? (screen ? 2 : 60);
    let now: Training[] = [];
    const reported = new Map<string, string>(); // what was last reported of each
    try {
      while (!signal.aborted) {
        now = await trainings.read();
        screen?.show(watchText(run, now, terminalRoom()));
        for (const line of screen ? [] : newLines(now, reported)) console.log(line);
        if (!follow && await isTrained(run, now)) break;
        await pause(every, signal);
      }
    } finally {
      screen?.close();
    }
    if (screen) console.log(watchText(run, now, { width: terminalRoom().width }));
    signal.throwIfAborted();
  },
}, import.meta);
