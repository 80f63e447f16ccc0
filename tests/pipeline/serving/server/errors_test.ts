import { assertEquals } from "@std/assert";
import { InputError, say, task } from "../../../../kernels/errors.ts";
import { RoomError } from "../../../../pipeline/serving/leases.ts";
import { TextRefusedError } from "../../../../pipeline/text/tokenizer.ts";
import { apiError, badRequest, errorBody } from "../../../../pipeline/serving/server/errors.ts";

Deno.test("apiError() tells what a client did from what the server lacks and from bugs, and keeps their text from clients", () => {
  const lacks = "Cannot answer as what the server needs for it must be available: it is not";
  const expert = "Cannot answer as expert 3 must be available: it is not";
  const at = (where: string) => new InputError(`Cannot load "${where}"`, { where });
  const remedy = say`run ${task("train-expert", { run: "/srv/run", expert: 3 })} first`;
  const cases: [error: Error, status: number, type: string, message: string][] = [
    [badRequest("no"), 400, "invalid_request_error", "no"],
    [
      new TextRefusedError("Cannot encode it", { where: "/srv" }),
      400,
      "invalid_request_error",
      "Cannot encode it",
    ],
    [
      ...[new RoomError("Cannot load /srv/a and /srv/b"), 400, "invalid_request_error"] as const,
      "Cannot answer as the models that are asked for must fit the server together: they do not",
    ],
    [new InputError("It is /srv", { remedy }), 503, "server_error", lacks],
    [at("/data/expert-5/tokenizer.json"), 503, "server_error", lacks],
    [at("/srv/expert-03-run/routers"), 503, "server_error", lacks],
    [at("/srv/run/experts/expert-03/config.json"), 503, "server_error", expert],
    [at("/data/expert-5/a/experts/expert-03/model.safetensors"), 503, "server_error", expert],
    [
      ...[new TypeError("/srv"), 500, "server_error"] as const,
      "Cannot answer as the server must be free of bugs: its log has more",
    ],
  ];
  for (const [error, status, type, message] of cases) {
    const reported = apiError(error);
    assertEquals([reported.status, errorBody(reported).error], [status, {
      message,
      type,
      param: null,
      code: reported.code,
    }]);
  }
});
