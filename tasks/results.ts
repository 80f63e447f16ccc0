/**
 * Writes what came out into the project's own pages.
 *
 *   deno task results --from runs/studies
 *   deno task results --from runs/experts --as experts
 */
import { fileURLToPath } from "node:url";
import { type PublishedPage, publishResults } from "../pipeline/reproduction/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { table } from "./layout.ts";

/** Words what the project's pages tell now. */
function publishedText({ page, written, published }: PublishedPage): string {
  const rows = published.map(({ title, claims }) => [
    ...[
      title,
      ...[false, true, null].map((wanted) => claims.filter(({ holds }) => holds === wanted).length),
    ],
  ]);
  const done = written ? `wrote   ${page}` : `${page} said this before: it stays as it is`;
  return [table("from | no | yes | neither", rows, ["from"]), "", done].join("\n");
}

export const TASK = await defineTask({
  name: "results",
  startsAnew: true,
  options: {
    from: field.path(
      { default: "", value: "FOLDER" },
      "folder of studies whose results are taken in first",
    ),
    as: field.text(
      { value: "NAME" },
      "name under which they are kept, without it studies; studies of other text need another one",
    ),
  },
  run: async ({ options, print }) => {
    const done = await publishResults({
      root: fileURLToPath(new URL("..", import.meta.url)),
      ...options,
    });
    print(done, publishedText(done));
  },
}, import.meta);
