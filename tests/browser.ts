/** A browser for tests of pages. */

import { assert, assertEquals } from "@std/assert";
import puppeteer, { type Browser, type Page } from "puppeteer-core";

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

/** Gives the text of the first element that a selector finds, or none. */
export const textOf = async (page: Page, selector: string): Promise<string> =>
  await page.evaluate(
    `document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`,
  ) as string;

/** Waits until an expression is true in the page; tells what the page says where it never is. */
export async function until(page: Page, expression: string, timeout = 60_000): Promise<void> {
  try {
    await page.waitForFunction(expression, { timeout, polling: 50 });
  } catch (cause) {
    const says = await Promise.all(["#error", "#state", "#why"].map((id) => textOf(page, id)));
    throw new Error(`never: ${expression}; the page says ${JSON.stringify(says)}`, { cause });
  }
}

/**
 * Texts of a page whose contrast with what lies behind them is below 4.5, and fields whose border
 * is below 3, by the formula of WCAG 2, of what a canvas makes of the colours. Controls that are
 * switched off do not count.
 */
const FAINT = `(() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const paint = (...colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colours) => {
    const [r, g, b] = paint(...colours).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) =>
    element ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const contrast = (ink, paper) => {
    const [a, b] = [luminance([...paper, ink]), luminance(paper)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const faint = [];
  let count = 0;
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.matches(":disabled, option")) continue;
    const isField = element.matches("textarea, input, select");
    const hasText = [...element.childNodes].some(({ data }) => data?.trim());
    const check = (name, least, ink, paper) => {
      count++;
      const value = contrast(ink, paper);
      if (value < least) faint.push(name + " of " + (element.id || element.className || element.tagName) + ": " + value);
    };
    const style = getComputedStyle(element);
    if (isField || hasText) check("text", 4.5, style.color, behind(element));
    if (element.placeholder) {
      check("placeholder", 4.5, getComputedStyle(element, "::placeholder").color, behind(element));
    }
    if (isField) check("border", 3, style.borderTopColor, behind(element.parentElement));
  }
  return { count, faint };
})()`;

/** Widths at which pages are looked at: a telephone, a tablet, a large screen. */
const WIDTHS = [390, 1024, 1600];

/**
 * Looks at a page at three widths, light and dark: nothing may be too wide, no text too faint.
 * Where SMALLTALK_SCREENSHOTS names a folder, it gets a picture of each.
 */
export async function assertReadable(page: Page, name: string): Promise<void> {
  const folder = Deno.env.get("SMALLTALK_SCREENSHOTS");
  for (const width of WIDTHS) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      const wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      assertEquals(wide, 0, `${name} is too wide at ${width}`);
      const { count, faint } = await page.evaluate(FAINT) as { count: number; faint: string[] };
      assert(count > 20, `${count} texts are there`);
      assertEquals(faint, [], `${name}, ${scheme}`);
      if (folder) {
        const path = `${folder}/${name}-${width}-${scheme}.png` as const;
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
}

/** Presses Tab from a control to the end of a page, and gives the controls that have the focus. */
export async function reachByTab(page: Page, first: string): Promise<string[]> {
  const reached: string[] = [];
  await page.focus(`#${first}`);
  while (reached.length < 100) {
    const name = await page.evaluate(`(({ activeElement: { id, textContent, nodeName } }) =>
      nodeName === "BODY" ? null : id || textContent)(document)`) as string | null;
    if (name === null) return reached;
    reached.push(name);
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab comes to no end: ${reached}`);
}
