/**
 * Makes `deno.lock` so that packages which are only read bring nothing with them. Run as a program,
 * it writes it anew:
 *
 *   deno run --allow-read=. --allow-write=deno.lock tests/tasks/lock_file.ts
 *
 * @module
 */

import CONFIG from "../../deno.json" with { type: "json" };
import CORPORA from "../../fixtures/corpora.json" with { type: "json" };
import { jsonText } from "../../pipeline/graph/mod.ts";
import {
  type LockFile as Packages,
  neededKeys,
  packageName as nameOf,
} from "../../tasks/bundle.ts";

/** The lock file of npm packages. */
export type LockFile = Packages & Record<string, unknown>;

/**
 * Packages whose files are read as text and never run: they need no other package, and none needs
 * them.
 */
export const ONLY_READ: readonly string[] = Object.keys(CORPORA.versions);

/** Packages that the configuration names; tests name further ones where they import them. */
const IMPORTED: ReadonlySet<string> = new Set(Object.values(CONFIG.imports));

/**
 * Gives a lock file in which a package that is only read comes without what it depends on. An
 * optional peer that nothing else brings is left out, as is one that is only read.
 */
export function reducedLock(lock: LockFile): LockFile {
  const wanted = Object.keys(lock.specifiers);
  const neededBy = (key: string) =>
    ONLY_READ.includes(nameOf(key)) ? [] : lock.npm[key].dependencies ?? [];
  const alone = Object.entries(lock.npm).map((
    [key, one],
  ) => [key, { ...one, dependencies: neededBy(key) }]);
  const needed = neededKeys(
    { specifiers: lock.specifiers, npm: Object.fromEntries(alone) },
    wanted,
  );
  const isPeer = (name: string) =>
    !ONLY_READ.includes(name) && needed.some((key) => nameOf(key) === name);
  // A key names its package's peers, and theirs.
  const renamed = (key: string) =>
    key.replace(/_((?:@[^@/]+\/)?[^@_/]+)@[^_]+/g, (text, peer) => isPeer(peer) ? text : "");
  const npm = needed.map((key) => {
    const { dependencies: _, optionalPeers = [], ...rest } = lock.npm[key];
    const lost = optionalPeers.filter((peer) => !isPeer(peer));
    const kept = Object.entries({ dependencies: neededBy(key), optionalPeers })
      .map(([field, names]) => [field, names.filter((name) => !lost.includes(name))] as const)
      .filter(([, names]) => names.length > 0);
    return [renamed(key), { ...rest, ...Object.fromEntries(kept) }];
  });
  const specifiers = wanted.map((target) => {
    const name = nameOf(target.slice(4));
    return [target, renamed(`${name}@${lock.specifiers[target]}`).slice(name.length + 1)];
  });
  return {
    ...lock,
    specifiers: Object.fromEntries(specifiers),
    npm: Object.fromEntries(npm),
    workspace: { dependencies: wanted.filter((target) => IMPORTED.has(target)) },
  };
}

if (import.meta.main) {
  const place = new URL("../../deno.lock", import.meta.url);
  await Deno.writeTextFile(
    place,
    jsonText(reducedLock(JSON.parse(await Deno.readTextFile(place)))),
  );
}
