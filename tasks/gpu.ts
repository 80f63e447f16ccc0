/**
 * Checks that a task which is to run on one graphics card sees no other. Vulkan heeds no variable that tells equal cards apart, and a
 * process cannot hide one from itself: `tasks/on_gpu.sh` does, before it starts the task, and `tasks/setup.sh` calls that.
 *
 * @module
 */

import { InputError, say, setting } from "../kernels/mod.ts";
import { listCards, type SystemPlaces } from "../pipeline/doctor/mod.ts";
import { quoted } from "./wording.ts";

/** Throws an `InputError` where a task sees other cards, or none of this number. It says how the task is started to see this card alone. */
export async function checkOneCard(gpu: number, task: string, places?: SystemPlaces): Promise<void> {
  const all = await listCards(places);
  const nvidia = all.filter((card) => card.startsWith("/dev/nvidia"));
  const cards = nvidia.length > 0 ? nvidia : all;
  if (gpu === 0 && cards.length <= 1) return;
  const sees = cards.length === 0 ? "none as a file" : cards.join(", ");
  throw new InputError(
    say`Cannot run on ${setting("gpu", gpu)} alone as the task must see no other card: it sees ${sees}`,
    {
      remedy: cards.length === 0
        ? say`name it with ${setting("adapter")}, or run in a container that has this card alone`
        : `start it with sh tasks/setup.sh ${
          quoted(task)
        } and the same flags, which hides the others, or run it in a container ` +
          `that has this card alone`,
    },
  );
}
