import { assert, assertEquals } from "@std/assert";
import {
  COPY_RULE,
  CopySearch,
  hashPassages,
  passageFinder,
  showLine,
} from "../../../pipeline/text/near_copies.ts";
import { readTokenTexts } from "../../../pipeline/text/decoder.ts";
import { hashWords, jaccard, listRuns } from "../../../pipeline/text/hashes.ts";
import { trainTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { inFolder } from "../../tasks/support.ts";
import { copiesCorpus, COPY_KINDS } from "../run/copies_support.ts";

Deno.test("CopySearch finds all copies of six kinds, and nothing else", () => {
  const { texts, secrets, copies } = copiesCorpus(300, 20);
  const search = new CopySearch(secrets.map((path) => texts.get(path)!), COPY_RULE);
  const found = new Map<string, number>();
  for (const [path, text] of texts) {
    const likeness = search.find(text);
    const copy = copies.get(path);
    const of = copy?.of ?? (secrets.includes(path) ? path : undefined);
    assertEquals(likeness && secrets[likeness.text], of, path);
    if (copy) found.set(copy.kind, (found.get(copy.kind) ?? 0) + 1);
  }
  assertEquals([...found], COPY_KINDS.map((kind) => [kind, 20]));
});

Deno.test("CopySearch gives the Jaccard index of runs of three words, and the longest run in common", () => {
  const known = "one two three four five six seven eight nine ten";
  const text = "Zero one TWO, three four five six! other seven eight nine ten";
  const search = new CopySearch(["far away from here", known], { near: 0.3, passage: 13 });
  const likeness = search.find(text)!;
  const [one, other] = [known, text].map((text) => new Set(listRuns(hashWords(text), 3)));
  assertEquals(likeness, {
    text: 1,
    kind: "near",
    share: jaccard(one, other),
    words: 6,
    at: text.indexOf("one"),
  });
  assertEquals(showLine(text, likeness.at), text.slice(5));
});

Deno.test("CopySearch takes a passage of so many words, or a whole short text, for a copy", () => {
  const words = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `w${from + i}`).join(" ");
  const search = new CopySearch([words(0, 100), words(200, 6), words(300, 4)], COPY_RULE);
  const kindOf = (text: string) =>
    search.find(`${words(1000, 50)} ${text} ${words(2000, 50)}`)?.kind;
  assertEquals(kindOf(words(40, 13)), "passage");
  assertEquals(kindOf(words(40, 12)), undefined);
  assertEquals(kindOf(words(200, 6)), "passage");
  assertEquals(kindOf(words(200, 5)), undefined);
  assertEquals(kindOf(words(300, 4)), undefined, "it is too short to be a passage");
  assertEquals(search.find(words(300, 4))?.kind, "near");
});

Deno.test("CopySearch.filterTokens() lets all copies pass, and few others", async () => {
  const { texts, secrets, copies } = copiesCorpus(120, 20);
  const documents = async function* () {
    for (const text of texts.values()) yield { text: `${text} Größe 東京 🙂`, source: "" };
  };
  const tokenizer = await trainTokenizer(documents(), { vocabularySize: 400, sample: 100_000 });
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/tokenizer.json`, tokenizer.json);
    const tokenTexts = (await readTokenTexts(`${folder}/tokenizer.json`))!;
    const search = new CopySearch(secrets.map((path) => texts.get(path)!), COPY_RULE);
    const mayMatch = search.filterTokens(tokenTexts);
    let passed = 0;
    for (const [path, text] of texts) {
      const [tokens] = await tokenizer.encode([text]);
      const passes = mayMatch(tokens);
      if (secrets.includes(path) || copies.has(path)) assert(passes, path);
      else if (passes) passed++;
      // What has characters that no token holds whole must be looked at.
      const [cut] = await tokenizer.encode([`${text} 龘`]);
      assert(mayMatch(cut), path);
    }
    const others = texts.size - secrets.length - copies.size;
    assert(passed <= 0.05 * others, `${passed} of ${others} others must be looked at`);
  });
});

Deno.test("passageFinder() finds copies by a part of the hashes, and no text without a passage", () => {
  const { texts, secrets, copies } = copiesCorpus(120, 20);
  const first = hashPassages(secrets.slice(0, 10).map((path) => texts.get(path)!), COPY_RULE);
  const passages = hashPassages(
    secrets.slice(10).map((path) => texts.get(path)!),
    COPY_RULE,
    first,
  );
  const find = passageFinder(passages);
  for (const [path, text] of texts) {
    const isKnown = secrets.includes(path) || copies.has(path);
    assertEquals(find(text) >= 0, isKnown, path);
  }
  const words = secrets.reduce((sum, path) => sum + texts.get(path)!.split(/\s+/).length, 0);
  const share = passages[COPY_RULE.passage].length / words;
  assert(share < 0.3, `a quarter of the runs is kept: ${share}`);
  assertEquals(passageFinder({})("any text"), -1);
});
