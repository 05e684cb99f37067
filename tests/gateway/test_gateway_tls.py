"""Nodes behind TLS: certificates are checked, unless the configuration says otherwise."""

import asyncio
import ssl

import msgspec
import trustme
from gateway_shared import CHAT, ask, chat, config, run

from fairlead.config import NodeConfig, ServedModel
from fairlead.gateway import RunningGateway

ANSWER = msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": "over TLS"}}]})


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, whatever it is."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
    await writer.drain()
    writer.close()


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_that_is_allowed() -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        loose = NodeConfig(name="loose", url=url, models=(ServedModel(name="loose"),), verify_tls=False)
        strict = NodeConfig(name="strict", url=url, models=(ServedModel(name="strict"),))
        running = RunningGateway(config(loose, strict))
        await running.start()
        try:
            trusted = await ask(running, CHAT, chat(model="loose"))
            assert (trusted.status, b"over TLS" in trusted.body) == (200, True)
            refused = await ask(running, CHAT, chat(model="strict"))
            assert (refused.status, b"CERTIFICATE_VERIFY_FAILED" in refused.body) == (502, True)
        finally:
            await running.stop(0.0)
            server.close()
            await server.wait_closed()

    run(main())
