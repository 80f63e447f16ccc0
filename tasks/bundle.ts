/**
 * Bundles the project, Deno and the packages that training, scoring and evaluation need into one archive.
 *
 *   deno task bundle --output smalltalk-linux-x64.tar.xz --with driver
 */
import { field } from "../pipeline/settings/mod.ts";
import { makeBundle } from "./bundle_files.ts";
import { EXTRAS, parseExtras } from "./bundle_parts.ts";
import { fromHere } from "./arguments.ts";
import { defineTask } from "./command.ts";
import { count, decimalBytes } from "./layout.ts";

const STANDARD = "smalltalk-linux-x64.tar.xz";

export const TASK = await defineTask({
  name: "bundle",
  startsAnew: true,
  options: field.section("Command", {
    output: field.path({
      value: "FILE",
      help: `archive to write, .tar.xz, .tar.gz or .tar; without it ${STANDARD}`,
    }),
    with: field.custom(parseExtras, {
      value: "NAME,…",
      help: `what to add: ${EXTRAS.join(", ")}; the driver is Mesa's for the processor, where there is none`,
    }),
  }),
  run: async ({ options, signal, onEvent, print }) => {
    const wanted = options.output ?? fromHere(STANDARD);
    const bundle = await makeBundle({ output: wanted, extras: options.with, signal, onEvent });
    const { output, bytes, sha256, files, tasks } = bundle;
    print(
      bundle,
      `${output}: ${decimalBytes(bytes)}, ${count(files)} files, SHA-256 ${sha256}\n` +
        `unpack it and call ./run TASK, TASK being one of ${tasks.join(" ")}`,
    );
  },
}, import.meta);
