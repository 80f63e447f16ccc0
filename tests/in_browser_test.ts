import { assert, assertEquals } from "@std/assert";
import { bundleScript } from "../pipeline/web/bundle.ts";
import { serveSite } from "../pipeline/web/static_server.ts";
import { GPU_ARGUMENTS, IGNORED, withBrowser } from "./browser.ts";
import { inFolder, ROOT } from "./tasks/support.ts";

/** The random shapes of each kernel in its own variants, and a training's golden steps. */
const PATTERN = /random (shapes|ones)|golden loss.* of (tiny|roomy) in f32$/;

Deno.test({
  name: "kernels and a training give their golden values on a browser's WebGPU",
  ignore: IGNORED,
  fn: () =>
    inFolder(async (folder) => {
      const assertions = import.meta.resolve("./in_browser/assert.ts");
      const script = await bundleScript(new URL("in_browser/script.ts", import.meta.url), {
        "node:assert": assertions,
        "node:util": assertions,
      });
      await Deno.writeTextFile(`${folder}/script.js`, script);
      await Deno.writeTextFile(
        `${folder}/index.html`,
        `<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">` +
          `<script type="module" src="script.js"></script>`,
      );
      await Deno.symlink(`${ROOT}fixtures`, `${folder}/fixtures`);
      const closing = new AbortController();
      const listening = Promise.withResolvers<string>();
      const served = serveSite(folder, { signal: closing.signal, onListen: listening.resolve });
      try {
        await withBrowser(async (browser) => {
          const page = await browser.newPage();
          page.setDefaultTimeout(0);
          const faults: string[] = [];
          page.on("pageerror", (error) => faults.push(String(error)));
          page.on("console", (message) => {
            if (/warn|error/.test(message.type())) faults.push(message.text());
          });
          await page.goto(await listening.promise);
          await page.waitForFunction("globalThis.runTests", { timeout: 30_000 });
          const results = await page.evaluate(`runTests(${JSON.stringify(PATTERN.source)})`) as {
            name: string;
            seconds: number;
            error?: string;
          }[];
          for (const { name, seconds } of results) console.log(`${seconds.toFixed(1)} s  ${name}`);
          assert(results.length >= 10, `${results.length} tests ran`);
          assertEquals(results.filter(({ error }) => error), []);
          assertEquals(faults, []);
        }, GPU_ARGUMENTS);
      } finally {
        closing.abort();
        await served;
      }
    }),
});
