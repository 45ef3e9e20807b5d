"""The tools as plain HTTP: one JSON object each way.

    POST /v1/add /v1/ask /v1/timeline /v1/why /v1/scan     the tool's arguments -> what it found
    GET  /v1/runs                                          the runs that the token opens
    GET  /healthz                                          {"ok": true}, without a token

An error is {"error": "one sentence"} with the status 400, 403, 409, 415, 500 or 503.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from posttrain.memory.server.tools import TOOLS, Failed, Tools

RIGHTS = "posttrain.rights"
"""Where a request's scope holds its rights."""


def routes(tools: Tools) -> list[Route]:
    """All of the API."""

    async def post(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return failure(415, "The body must be JSON, with the content type application/json.")
        return await _answer(tools, request.url.path.rpartition("/")[2], await request.body(), request)

    async def runs(request: Request) -> Response:
        return await _answer(tools, "runs", {}, request)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"ok": True})

    found = [Route(f"/v1/{name}", post, methods=["POST"], name=name) for name in TOOLS if name != "runs"]
    return [*found, Route("/v1/runs", runs), Route("/healthz", healthz)]


async def _answer(tools: Tools, name: str, arguments: bytes | Mapping[str, Any], request: Request) -> Response:
    try:
        reply = await tools.call(name, arguments, request.scope[RIGHTS])
    except Failed as error:
        return failure(error.status, str(error))
    return Response(await tools.apart(lambda: _encoded(reply.structured)), media_type="application/json")


def failure(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in this API's form."""
    return JSONResponse({"error": sentence}, status, headers)


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
