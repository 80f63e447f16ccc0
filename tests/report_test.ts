import { assert, assertEquals } from "@std/assert";
import type { Browser, Page } from "puppeteer-core";
import { report } from "../pipeline/report/report.ts";
import { DARK, LIGHT, type Palette } from "../pipeline/report/charts.ts";
import { evaluationOf, SHAPE, writeEvaluation, writeRun } from "./pipeline/report/support.ts";
import { words } from "../tasks/cli/wording.ts";
import { IGNORED, withBrowser } from "./browser.ts";
import { inFolder } from "./tasks/support.ts";

const LONG = "a-source-with-a-name-that-goes-on-".repeat(6);
const HOSTILE = "<img src=x onerror=alert(1)>";
const SOURCES = ["code", "fiction", "news", LONG, HOSTILE];

// deno-lint-ignore no-explicit-any -- Deno leaves the types of the DOM out
type Any = any;

/** Looks at every figure; runs in the page. */
function look() {
  const { document, getComputedStyle } = globalThis as Any;
  const all = (node: Any, selector: string): Any[] => [...node.querySelectorAll(selector)];
  return all(document, "figure").map((figure) => {
    const pictures = all(figure, "svg").filter((svg) => svg.getBoundingClientRect().width > 0);
    const [svg] = pictures;
    const frame = svg.getBoundingClientRect();
    const texts = all(svg, "text").filter((node) => node.textContent !== "").map((node) => ({
      text: node.textContent,
      box: node.getBoundingClientRect(),
      style: getComputedStyle(node),
    }));
    const marks = all(svg, "path,line").filter((node) => {
      const { width, height } = node.getBoundingClientRect();
      const { fill, stroke } = getComputedStyle(node);
      return width + height > 0 && (fill !== "none" || stroke !== "none");
    });
    const overlaps: string[] = [];
    texts.forEach((a, i) =>
      texts.slice(i + 1).forEach((b) => {
        const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
        const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
        const halo = a.text === b.text && a.box.left === b.box.left;
        if (wide > 1 && high > 4 && !halo) overlaps.push(`${a.text} / ${b.text}`);
      })
    );
    const lines = marks.map((node) => node.getBoundingClientRect())
      .filter(({ width, height }) => width > 40 && height < 4);
    const struck = texts.filter(({ box }) =>
      lines.some((line) => {
        const wide = Math.min(box.right, line.right) - Math.max(box.left, line.left);
        const edge = (box.bottom - box.top) / 4;
        return wide > 1 && line.bottom > box.top + edge && line.top < box.bottom - edge;
      })
    );
    const isWithin = (box: Any) =>
      box.left >= frame.left - 0.3 && box.right <= frame.right + 0.3 &&
      box.top >= frame.top - 0.3 && box.bottom <= frame.bottom + 0.3;
    const cut = texts.filter(({ box }) => !isWithin(box));
    return {
      id: figure.id as string,
      pictures: pictures.length,
      marks: marks.length,
      scale: frame.width / svg.viewBox.baseVal.width as number,
      width: frame.width as number,
      height: frame.height as number,
      fontSizes: texts.map(({ style }) => parseFloat(style.fontSize)),
      cut: cut.map(({ text }) => text),
      overlaps,
      struck: struck.map(({ text }) => text),
      fills: texts.map(({ style }) => style.fill),
    };
  });
}

/** Lists the words that break across lines though they hold a hyphen; runs in the page. */
function brokenWords(): string[] {
  const { document } = globalThis as Any;
  return [...document.querySelectorAll(".word")].filter((word) => word.getClientRects().length > 1)
    .map(({ textContent }) => textContent);
}

/**
 * Opens a page in a window of a width and a colour scheme, and collects what it asks for and
 * complains of.
 */
async function open(
  browser: Browser,
  path: string,
  width: number,
  scheme: string,
): Promise<{ page: Page; heard: string[] }> {
  const page = await browser.newPage();
  const heard: string[] = [];
  page.on("console", (message) => heard.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => heard.push(`error: ${error}`));
  page.on("dialog", (dialog) => heard.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (request.url() !== `file://${path}`) heard.push(`request: ${request.url()}`);
  });
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`file://${path}`, { waitUntil: "load" });
  return { page, heard };
}

const rgbOf = (hex: string) =>
  `rgb(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(", ")})`;
const LOOKS: [width: number, scheme: string, palette: Palette][] = [
  [1200, "light", LIGHT],
  [1200, "dark", DARK],
  [400, "light", LIGHT],
  [400, "dark", DARK],
  [360, "light", LIGHT],
];

/**
 * Gives an evaluation whose dense model of more steps is at the lower end of the axis of
 * perplexities.
 */
function lowDense(experts: number): ReturnType<typeof evaluationOf> {
  const evaluation = evaluationOf({ ...SHAPE, experts, sources: SOURCES });
  evaluation.scores["dense-steps"] = {
    nllPerToken: Math.log(40),
    perplexity: 40,
    low: 38,
    high: 42,
  };
  // A narrow plot's axis ends just beyond the label "100".
  evaluation.scores.random = { nllPerToken: Math.log(70), perplexity: 70, low: 68, high: 77.1 };
  return evaluation;
}

for (const experts of [4, 32]) {
  Deno.test({
    name: `report.html of ${experts} experts opens in Chromium, wide and narrow, light and dark`,
    ignore: IGNORED,
    fn: () =>
      inFolder(async (run) => {
        await writeRun(run, {
          ...SHAPE,
          experts,
          rounds: 3 * experts,
          sources: [...SOURCES, ...Array.from({ length: experts }, (_, i) => `more ${i}`)],
        });
        await writeEvaluation(run, lowDense(experts));
        const { output } = await report({ run, words });
        await withBrowser(async (browser) => {
          for (const [width, scheme, palette] of LOOKS) {
            const at = `${width} px, ${scheme}`;
            const { page, heard } = await open(browser, output, width, scheme);
            assertEquals(heard, [], at);
            const seen = await page.evaluate(look);
            assertEquals(seen.length, 21, at);
            const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor");
            assertEquals(paper, rgbOf(palette.paper), at);
            for (const figure of seen) {
              const where = `${figure.id} at ${at}`;
              assertEquals(figure.pictures, 1, where);
              assert(figure.width >= 300 && figure.height >= 80, `${where} is small`);
              assert(figure.marks >= 4, `${where} has ${figure.marks} marks`);
              assert(
                figure.scale * Math.min(...figure.fontSizes) >= 11,
                `${where} has text of under 11 px`,
              );
              const { cut, overlaps, struck } = figure;
              const nothing = { cut: [], overlaps: [], struck: [] };
              assertEquals(
                { cut, overlaps, struck },
                nothing,
                `${where}: text is cut, or overlaps`,
              );
              const colours = [palette.muted, palette.ink].map(rgbOf);
              assert(colours.some((colour) => figure.fills.includes(colour)), where);
            }
            await page.evaluate(
              "document.querySelectorAll('details').forEach((one) => one.open = true)",
            );
            assertEquals(await page.evaluate(brokenWords), [], `${at}: words are broken`);
            const scroll = await page.evaluate("document.documentElement.scrollWidth");
            assertEquals(scroll, width, `${at}: the page scrolls sideways`);
            const lost = await page.evaluate(
              "[...document.querySelectorAll('nav a')].filter((a) => !document.querySelector(a.getAttribute('href'))).length",
            );
            assertEquals([lost, heard], [0, []], at);
            await page.close();
          }
        });
      }),
  });
}
