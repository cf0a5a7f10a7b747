"""A site that answers everything after a second: ``python -m …slow_site PORT``."""

import asyncio
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
ANSWER = HEAD % (5, b"hello")
LARGE = HEAD % (10 * 1024 * 1024, b"x" * 10 * 1024 * 1024)  # of "/large"


async def serve(reader, writer):
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1)
            writer.write(LARGE if request.startswith(b"GET /large") else ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
