/** A browser for tests of pages. */

import { assert } from "@std/assert";
import puppeteer, { type Browser } from "puppeteer-core";

/** Finds Chromium: the file that SMALLTALK_BROWSER names, or one on PATH. */
function findBrowser(): string | null {
  const named = Deno.env.get("SMALLTALK_BROWSER");
  if (named) return named;
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
      try {
        if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
      } catch {
        // Not here.
      }
    }
  }
  return null;
}

const browser = findBrowser();
const required = Deno.env.get("SMALLTALK_REQUIRE_BROWSER") === "1";

/** Whether tests that need a browser are left out. */
export const IGNORED = browser === null && !required;

if (IGNORED) {
  console.log(
    "the browser tests are left out, as there is no Chromium: apt-get install chromium, or set SMALLTALK_BROWSER",
  );
}

/** Arguments by which a browser without a card has WebGPU, on SwiftShader. */
export const GPU_ARGUMENTS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Opens a browser for a test; the pipe to it needs no network. */
export async function withBrowser(
  test: (browser: Browser) => Promise<void>,
  further: readonly string[] = [],
): Promise<void> {
  assert(browser !== null, "SMALLTALK_REQUIRE_BROWSER is 1, but there is no Chromium");
  const opened = await puppeteer.launch({
    executablePath: browser,
    args: ["--no-sandbox", ...further],
    pipe: true,
  });
  try {
    await test(opened);
  } finally {
    await opened.close();
  }
}
