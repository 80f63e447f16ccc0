/** What a server needs no more once it listens. */

/** Addresses that a server may be permitted to listen on, as permissions name them. */
const OWN = ["127.0.0.1", "[::1]", "localhost", "0.0.0.0"];

/**
 * Gives up the permission of this process to reach or listen on anything but the servers of `urls`; what listens goes on. Only permissions
 * that are named one by one can be given up so, not that for every address.
 */
export function keepToUpstreams(urls: Iterable<string>): void {
  const hosts = [...urls].map((url) => new URL(url).host);
  const isNeeded = (own: string) => hosts.some((host) => host === own || host.startsWith(`${own}:`));
  for (const host of OWN.filter((own) => !isNeeded(own))) Deno.permissions.revokeSync({ name: "net", host });
  if (hosts.length === 0) Deno.permissions.revokeSync({ name: "net" });
}
