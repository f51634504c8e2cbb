"""The yardstick: what an engineer would write in twenty lines, a streaming proxy with aiohttp on both sides.

`python -m bench.bare_proxy --port N --upstream http://127.0.0.1:M`. No keys, policies, limits, deadlines or metrics. It
gets what makes it fast for free: uvloop, no access log, no limit on connections (100 by default, which would stop the
streams).
"""

import argparse

import aiohttp
import uvloop
from aiohttp import web

TRAVELLING_HEADERS = ("content-type", "accept", "user-agent")


def proxy(upstream: str) -> web.Application:
    """An application that sends every POST on to `upstream`."""
    app = web.Application()
    session = web.AppKey("session", aiohttp.ClientSession)

    async def keep_session(app: web.Application):  # type: ignore[no-untyped-def]  # aiohttp's context
        app[session] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app[session].close()

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in TRAVELLING_HEADERS if name in request.headers}
        headers["authorization"] = "Bearer the-vendor-key"
        body = await request.read()
        async with app[session].post(upstream + request.path, data=body, headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
            response = web.StreamResponse(status=answer.status, headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    app.cleanup_ctx.append(keep_session)
    app.router.add_post("/{path:.*}", forward)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A bare aiohttp proxy to compare with.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    web.run_app(
        proxy(options.upstream),
        host="127.0.0.1",
        port=options.port,
        backlog=4096,
        handler_cancellation=True,  # a caller who hangs up ends the stream behind it; not the default
        shutdown_timeout=1,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
