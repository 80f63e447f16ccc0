/**
 * Writes what came out into the project's own pages.
 *
 *   deno task results --from runs/studies
 *   deno task results --from runs/experts --as experts
 */
import { fileURLToPath } from "node:url";
import { publishResults } from "../pipeline/reproduction/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { publishedText } from "./reproduce_text.ts";

export const TASK = await defineTask({
  name: "results",
  startsAnew: true,
  options: {
    from: field.path({ default: "", value: "FOLDER" }, "folder of studies whose results are taken in first"),
    as: field.text(
      { value: "NAME" },
      "name under which they are kept, without it studies; studies of other text need another one",
    ),
  },
  run: async ({ options, print }) => {
    const done = await publishResults({ root: fileURLToPath(new URL("..", import.meta.url)), ...options });
    print(done, publishedText(done));
  },
}, import.meta);
