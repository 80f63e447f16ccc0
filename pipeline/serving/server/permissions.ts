/** What a server needs no more once it listens. */

/** Addresses that a server may be permitted to listen on, as permissions name them. */
const OWN = ["127.0.0.1", "[::1]", "localhost", "0.0.0.0"];

/**
 * Gives up the permission of this process to reach or listen on any address but those of `urls`. A server that
 * already listens goes on. If the process may reach every address, that is given up only without `urls`. A host is
 * kept with all its ports: with an upstream on 127.0.0.1 the process may reach all of this machine's ports there.
 * It also gives up `ls`, by which a task looks for graphics cards before it starts.
 */
export function keepToUpstreams(urls: Iterable<string>): void {
  const hosts = [...urls].map((url) => new URL(url).host);
  const isNeeded = (own: string) => hosts.some((host) => host === own || host.startsWith(`${own}:`));
  for (const host of OWN.filter((own) => !isNeeded(own))) Deno.permissions.revokeSync({ name: "net", host });
  Deno.permissions.revokeSync({ name: "run", command: "ls" });
  if (hosts.length === 0) Deno.permissions.revokeSync({ name: "net" });
}
