import { assertEquals } from "@std/assert";
import { InputError, say, task } from "../../../../kernels/errors.ts";
import { RoomError } from "../../../../pipeline/serving/leases.ts";
import { TextRefusedError } from "../../../../pipeline/text/tokenizer.ts";
import { ApiError, apiError, badRequest, errorBody } from "../../../../pipeline/serving/server/errors.ts";

Deno.test("apiError() tells what a client did from what the server lacks and from bugs, and keeps their text from clients", () => {
  const wrong = new InputError("Cannot do it as it must be so: it is not");
  assertEquals([apiError(badRequest("no")).status, apiError(wrong).status], [400, 503]);
  const lacks = "Cannot answer as what the server needs for it must be available: it is not";
  assertEquals(apiError(wrong).message, lacks);
  const path = "/srv/run/experts/expert-03/config.json";
  const lacking = new InputError(`Cannot load a checkpoint as "${path}" must be there: it is not`, {
    where: path,
    remedy: say`run ${task("train-expert", { run: "/srv/run", expert: 3 })} first`,
  });
  assertEquals([apiError(lacking).status, apiError(lacking).message], [
    ...[503, "Cannot answer as expert 3 must be available: it is not"],
  ]);
  const nested = new InputError("It is", { where: "/data/expert-5/a/experts/expert-03/model.safetensors" });
  assertEquals(apiError(nested).message, "Cannot answer as expert 3 must be available: it is not");
  assertEquals(apiError(new InputError("It is", { where: "/data/expert-5/tokenizer.json" })).message, lacks);
  const room = apiError(new RoomError("Cannot load /srv/a and /srv/b as there is no room"));
  assertEquals([room.status, room.message.includes("srv"), room.headers], [400, false, {}]);
  const routers = new InputError('Cannot read "run/routers" as it must be whole: it is cut short', {
    where: "/srv/expert-03-run/routers",
  });
  assertEquals(apiError(routers).message, lacks);
  const refused = new TextRefusedError("Cannot encode it", { where: "a path of the server" });
  assertEquals([apiError(refused).status, apiError(refused).message], [400, "Cannot encode it"]);
  assertEquals(apiError(refused).headers, {});
  const bug = apiError(new TypeError("a path of the server"));
  assertEquals([bug.status, bug.message.includes("path")], [500, false]);
  const types = [400, 401, 404, 413, 429, 500, 503].map((status) =>
    errorBody(new ApiError(status, "x")).error.type
  );
  const invalid = "invalid_request_error";
  assertEquals(types, [
    ...[
      invalid,
      "authentication_error",
      invalid,
      invalid,
      "rate_limit_error",
      "server_error",
      "server_error",
    ],
  ]);
});
