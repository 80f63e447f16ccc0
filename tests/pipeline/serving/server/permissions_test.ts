import { assertEquals } from "@std/assert";
import { inFolder } from "../../../tasks/support.ts";

const MODULE = new URL("../../../../pipeline/serving/server/permissions.ts", import.meta.url);

/** Runs a server in a process of its own that gives up permissions once it listens. Says what it may reach then. */
async function confined(upstreams: string[]): Promise<{ may: Record<string, string>; answer: string }> {
  const code = `
    import { keepToUpstreams } from "${MODULE}";
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("still here"));
    keepToUpstreams(${JSON.stringify(upstreams)});
    const hosts = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "10.0.0.1:80", "10.0.0.2"];
    const of = (host) => Deno.permissions.querySync({ name: "net", host }).state;
    const tried = await fetch("http://127.0.0.1:" + server.addr.port).then((it) => it.text(), ({ name }) => name);
    const ls = Deno.permissions.querySync({ name: "run", command: "ls" }).state;
    const may = Object.fromEntries([...hosts.map((host) => [host, of(host)]), ["tried", tried], ["ls", ls]]);
    console.log(JSON.stringify({ port: server.addr.port, may }));
    setTimeout(() => server.shutdown(), 10_000);
  `;
  let found: { may: Record<string, string>; answer: string } | undefined;
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/server.ts`, code);
    const net = "--allow-net=127.0.0.1,[::1],localhost,0.0.0.0,10.0.0.1:80";
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--no-config", "--allow-run=ls", net, `${folder}/server.ts`],
      ...{ stdout: "piped", stderr: "inherit" },
    }).spawn();
    try {
      for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
        const { port, may } = JSON.parse(text);
        found = { may, answer: await (await fetch(`http://127.0.0.1:${port}`)).text() };
        break;
      }
    } finally {
      process.kill();
      await process.status;
    }
  });
  return found!;
}

Deno.test("keepToUpstreams() leaves a server that listens nothing to reach but its upstreams, and lets it answer", async () => {
  const states = (may: Record<string, string>) =>
    Object.keys(may).filter((host) => may[host] === "granted").sort();
  const alone = await confined([]);
  assertEquals([states(alone.may), alone.may.tried, alone.answer], [[], "NotCapable", "still here"]);
  const far = await confined(["http://10.0.0.1:80"]);
  assertEquals([states(far.may), far.may.tried, far.answer], [
    ["10.0.0.1:80"],
    "NotCapable",
    "still here",
  ]);
  const near = await confined(["http://127.0.0.1:9000", "http://10.0.0.1"]);
  assertEquals([states(near.may), near.answer], [["10.0.0.1:80", "127.0.0.1"], "still here"]);
});
