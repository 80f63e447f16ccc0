import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { ROOT } from "./tasks/support.ts";

const PAGES = [
  "README.md",
  "CHANGELOG.md",
  "kernels/NOTES.md",
  ...["CONTRIBUTING", "EXTENDING", "FORMATS", "SCIENCE", "SCRIPTS", "SERVING", "USING"].map((name) =>
    `pipeline/${name}.md`
  ),
  "tasks/SERVERS.md",
  "tests/bench/SPEED.md",
];

const read = (path: string): string => Deno.readTextFileSync(`${ROOT}${path}`);
const isThere = (path: string): boolean => {
  try {
    return Deno.statSync(`${ROOT}${path}`) !== undefined;
  } catch {
    return false;
  }
};

/** Names a heading as links to it do. */
const anchor = (heading: string): string =>
  heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");

Deno.test("links between pages lead to files and headings that are there", () => {
  const broken = PAGES.flatMap((page) =>
    [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link)
      .filter((link) => !link.startsWith("https:"))
      .filter((link) => {
        const [path, heading] = link.split("#");
        const target = path === "" ? page : join(dirname(page), path);
        if (!isThere(target)) return true;
        const headings = heading && [...read(target).matchAll(/^#+ (.*)$/gm)].map(([, text]) => anchor(text));
        return headings && !headings.includes(heading);
      }).map((link) => `${page}: ${link}`)
  );
  assertEquals(broken, []);
});

Deno.test("files and folders that CONTRIBUTING.md names are there, and all folders of the tree", () => {
  const page = read("pipeline/CONTRIBUTING.md");
  const paths = [...page.matchAll(/`((?:pipeline|kernels|tasks|tests|fixtures)\/[^`\s]*)`/g)].map((
    [, path],
  ) => path);
  assert(paths.length > 40);
  const besides = [...page.matchAll(/`(pipeline\/\w+\/)`: (`[^|]*)/g)].flatMap(([, folder, files]) =>
    [...files.matchAll(/`(\w+\.ts)`/g)].map(([, file]) => folder + file)
  );
  assert(besides.length > 5);
  assertEquals([...paths, ...besides].filter((path) => !isThere(path)), []);
  const listed = [...page.matchAll(/^ {2}(\w+)\/ /gm)].map(([, folder]) => folder);
  const folders = Array.from(Deno.readDirSync(`${ROOT}pipeline`)).filter(({ isDirectory }) => isDirectory);
  assertEquals(folders.map(({ name }) => name).filter((name) => !listed.includes(name)), []);
});
