/**
 * Disks of a chosen size, for the tests of what a full or a read-only one does.
 *
 * @module
 */

/** Mounts, or gives false where that is not permitted. */
export const mount = async (...args: string[]): Promise<boolean> =>
  (await new Deno.Command("mount", { args, stderr: "null" }).output().catch(() => ({
    success: false,
  })))
    .success;

/**
 * Calls `test` with a folder on a disk of its own, of `size`. Gives false where none can be
 * mounted.
 */
export async function onDisk(
  size: string,
  test: (folder: string) => Promise<void>,
): Promise<boolean> {
  const folder = await Deno.makeTempDir();
  const mounted = await mount("-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder);
  try {
    if (mounted) await test(folder);
  } finally {
    if (mounted) await new Deno.Command("umount", { args: [folder] }).output();
    await Deno.remove(folder);
  }
  return mounted;
}

/** Whether tests that need a disk of their own are left out. */
export const ignore = !await onDisk("16k", () => Promise.resolve());
if (ignore) {
  console.log("the tests of full and of read-only disks are left out, as none may be mounted");
}

/**
 * Tries something on a disk that grows from `sizes[0]` KiB until it succeeds. Calls `failed` after
 * each failure, and returns how often it did.
 */
export async function onGrowingDisk(
  sizes: readonly number[],
  attempt: (folder: string) => Promise<unknown>,
  failed: (error: unknown, folder: string) => Promise<void> | void,
  whole: (folder: string) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  await onDisk(`${sizes[0]}k`, async (folder) => {
    for (const size of [...sizes, 64 * 1024]) {
      await mount("-o", `remount,size=${size}k`, folder);
      try {
        await attempt(folder);
      } catch (error) {
        await failed(error, folder);
        continue;
      }
      return await whole(folder);
    }
    throw new Error("it failed with room, too");
  });
}
