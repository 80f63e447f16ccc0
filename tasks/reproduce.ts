/**
 * Reproduces the paper's comparison of the mixture with dense models at a small size, from text to a table of its claims.
 *
 *   deno task reproduce --preset small --run runs/small
 */
import { reproduce, type Reproduction } from "../mod.ts";
import { defineTask } from "./command.ts";
import { CHECKPOINTS, DEVICE, IN_A_RUN, RECOMPUTE, REQUIRE_GPU } from "./options.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "reproduce",
  about:
    "Runs everything: partition, a search for learning rates, experts, two dense baselines, evaluation, report; and puts the " +
    "paper's claims beside this run's figures. Stopped at any moment, it goes on where it was.",
  options: { ...IN_A_RUN, ...CHECKPOINTS, ...RECOMPUTE, ...DEVICE, ...REQUIRE_GPU },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run } = options;
    const reproduction = await reproduce({ ...options, sources, words }, { signal, onEvent });
    print({ run, ...reproduction }, text(run, reproduction));
  },
}, import.meta);

function text(run: string, { claims }: Reproduction): string {
  const verdict = (holds: boolean | null) => holds === null ? "    " : holds ? "yes " : "no  ";
  const lines = claims.flatMap(({ claim, paper, here, holds }) => [
    `${verdict(holds)}${claim}`,
    `      paper: ${paper}`,
    `      here:  ${here}`,
  ]);
  return [...lines, "", `table   ${run}/reproduction.md`, `report  ${run}/report.html`].join("\n");
}
