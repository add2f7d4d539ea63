"""``python -m examples.atlas serve``: the service on PORT or ``--port``, else on a free one."""

import argparse
import os
import socket

import uvicorn


def main() -> None:
    """Listen, say where, and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.atlas", description="Atlas, the example service of holdall")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="leave the service running; DATABASE_URL names its database")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 0), help="default: PORT, else a free one")
    options = parser.parse_args()

    # Bound here, so that the address is known for sure before anything is said about it.
    with socket.create_server((options.host, options.port)) as listener:
        # asyncio does so for sockets of its own making alone, and without it answers wait 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        print(f"the API: http://{options.host}:{port}/docs (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config("examples.atlas.app:app", log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
