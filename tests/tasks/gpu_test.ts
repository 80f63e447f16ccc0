import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../kernels/mod.ts";
import { checkOneCard } from "../../tasks/cli/command.ts";
import { execute, inFolder, refused, task } from "./support.ts";

/** Makes a folder like `/dev` with these files. */
async function devWith(folder: string, files: string[]): Promise<string> {
  await Deno.mkdir(`${folder}/dev/dri`, { recursive: true });
  for (const name of files) await Deno.writeTextFile(`${folder}/dev/${name}`, "");
  return `${folder}/dev`;
}

/** Runs a command on a card of `dev`, and gives what it prints. */
async function onGpu(dev: string, ...words: string[]) {
  const { code, out, err } = await execute("sh", ["tasks/on_gpu.sh", ...words], {
    env: { SMALLTALK_DEV: dev },
  });
  return { code, out, err };
}

Deno.test("on_gpu.sh hides all cards but one from a command, or says how else to do that", () =>
  inFolder(async (folder) => {
    const files = "nvidia0 nvidia1 nvidia2 nvidia10 nvidiactl null dri/renderD128";
    const dev = await devWith(folder, files.split(" "));
    const { code, out, err } = await onGpu(dev, "3", "sh", "-c", `ls ${dev} ${dev}/dri; exit 3`);
    const allowed = await execute("unshare", ["--user", "--map-root-user", "--mount", "true"]).then(
      ({ code }) => code === 0,
      () => false,
    );
    if (allowed) {
      assertEquals([code, err], [3, ""]);
      assertEquals(out, `${dev}:\ndri\nnull\nnvidia10\nnvidiactl\n\n${dev}/dri:\nrenderD128\n`);
    } else {
      assertEquals([code, out], [2, ""]);
      assertStringIncludes(err, "docker run --gpus device=3");
    }
    assertEquals([...Deno.readDirSync(dev)].length, 7); // outside nothing is hidden
    const [none, few] = [
      "its number and a command must be given",
      "less than the number of cards: there are 4",
    ];
    const refused: [words: string[], text: string][] = [
      ...[[], ["0"], ["--flag"]].map((words): [string[], string] => [words, none]),
      [["--flag", "true", "--gpu", "08"], `GPU 8 as --gpu must be ${few}`],
      ...[["--gpu", ""], ["--gpu="]].map((
        gpu,
      ): [string[], string] => [["--flag", "true", ...gpu], 'it is ""']),
      ...["4", "99999999999999999999"].map((number): [string[], string] => [[number, "true"], few]),
      [["x", "true"], 'it is "x"'],
    ];
    for (const [words, text] of refused) {
      const { code, out, err } = await onGpu(dev, ...words);
      assertEquals([code, out, err.split("\n").length], [2, "", 2], err);
      assertStringIncludes(err, text);
    }
    if (allowed) {
      assertEquals((await onGpu(dev, "003", "ls", dev)).out, "dri\nnull\nnvidia10\nnvidiactl\n");
    }
    for (const name of ["nvidia1", "nvidia2", "nvidia10"]) await Deno.remove(`${dev}/${name}`);
    assertEquals(await onGpu(dev, "0", "echo", "one"), { code: 0, out: "one\n", err: "" });
    await Deno.remove(`${dev}/nvidia0`);
    await Deno.writeTextFile(`${dev}/dri/renderD129`, "");
    const others = await onGpu(dev, "1", "ls", `${dev}/dri`);
    if (allowed) assertEquals(others, { code: 0, out: "renderD129\n", err: "" });
  }));

Deno.test("checkOneCard() takes the only card, and reports how to hide others", () =>
  inFolder(async (folder) => {
    const places = { root: folder };
    await devWith(folder, ["nvidia0", "dri/renderD128", "dri/renderD129"]);
    await checkOneCard(0, "score", places);
    await devWith(folder, ["nvidia1"]);
    const refusal =
      "Cannot run on gpu 0 alone as the task must see no other card: it sees /dev/nvidia0, /dev/nvidia1; " +
      "start it with sh tasks/setup.sh score and the same flags";
    await assertRejects(() => checkOneCard(0, "score", places), InputError, refusal);
    const none = { root: `${folder}/nowhere` };
    await checkOneCard(0, "score", none);
    await assertRejects(
      () => checkOneCard(1, "score", none),
      InputError,
      "it sees none as a file; name it with adapter",
    );
    await refused(task("score", ["--run", folder, "--gpu", "99"]), "Cannot run on --gpu 99 alone");

    // Every task that takes --gpu may look: here the first program of that name tells of two cards.
    await Deno.mkdir(`${folder}/bin`);
    await Deno.writeTextFile(`${folder}/bin/ls`, "#!/bin/sh\necho nvidia0; echo nvidia1\n", {
      mode: 0o755,
    });
    const env = { PATH: `${folder}/bin:${Deno.env.get("PATH")}` };
    for (const name of ["score", "generate", "serve"]) {
      await refused(
        task(name, ["--run", folder, "--gpu", "0"], { env }),
        "it sees /dev/nvidia0, /dev/nvidia1",
      );
    }
  }));
