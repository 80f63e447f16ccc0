/**
 * Makes the script of a page from the package's own files, with `deno bundle`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { RunError } from "../../kernels/errors.ts";

const BROWSER = new URL("./browser/", import.meta.url);
/** Modules of Node, and the native tokenizer, have stand-ins in a browser. */
const NODE_MODULES = ["crypto", "fs", "path", "v8", "vm", "zlib", "stream", "buffer", "url"];

/**
 * Bundles a script for a browser, as small as it gets: that of a site unless another is named.
 * `standIns` are files that take the place of further modules.
 */
export async function bundleScript(
  entry = new URL("script.ts", BROWSER),
  standIns: Readonly<Record<string, string>> = {},
): Promise<string> {
  const project = new URL("../../", import.meta.url);
  const { imports: packages } = JSON.parse(await Deno.readTextFile(new URL("deno.json", project)));
  const ownPackages = Object.entries(packages as Record<string, string>).map(([name, place]) =>
    [name, place.startsWith("./") ? new URL(place, project).href : place] as const
  );
  const node = Object.fromEntries(
    NODE_MODULES.map((name) => [`node:${name}`, new URL("node.ts", BROWSER).href]),
  );
  const imports = {
    ...Object.fromEntries(ownPackages),
    ...node,
    tokenizers: new URL("tokenizers.ts", BROWSER).href,
    ...standIns,
  };
  const folder = await Deno.makeTempDir({ prefix: "smalltalk-" });
  try {
    const map = `${folder}/imports.json`;
    const script = `${folder}/script.js`;
    await Deno.writeTextFile(map, JSON.stringify({ imports }));
    const { success, stderr } = await new Deno.Command("deno", {
      args: [
        "bundle",
        "--quiet",
        "--frozen",
        `--lock=${fileURLToPath(new URL("../../deno.lock", import.meta.url))}`,
        "--no-config",
        "--platform=browser",
        "--minify",
        `--import-map=${map}`,
        `--output=${script}`,
        fileURLToPath(entry),
      ],
      stdout: "null",
      stderr: "piped",
    }).output().catch((cause) => {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new RunError(
        "Cannot bundle the script of a page as Deno must be on the path: it is not",
        {
          remedy: "add the folder of its binary to PATH",
          cause,
        },
      );
    });
    if (!success) {
      const said = new TextDecoder().decode(stderr).trim().split("\n")[0];
      throw new RunError(
        `Cannot bundle the script of a page as Deno must do it: it says "${said}"`,
      );
    }
    return await Deno.readTextFile(script);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
