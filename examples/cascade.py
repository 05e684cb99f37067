"""A cascade: ask the cheap model first, check its answer, and ask the dear one only where that fails.

Run it with `python examples/cascade.py`. To offer a check to a gateway by name, put into your pyproject.toml:

    [project.entry-points."fairlead.checks"]
    compiles = "my_package:compiles"
"""

import asyncio
import json
from http.client import HTTPConnection

from fairlead.config import loads
from fairlead.gateway import RunningGateway
from fairlead.testing import FakeProvider, Reply
from fairlead.testing.provider import Received

CONFIG = """
listen: 127.0.0.1:0
nodes:
  - {{url: "{url}", models: [cheap, dear]}}
cascades:
  - {{name: careful, models: [cheap, dear], check: {{json: true}}}}
"""
TASKS = {  # and what the cheap model makes of them
    "Name two colours": '["red", "blue"]',
    "Name two fruits": "Apples and pears.",
    "Name two numbers": "I'm sorry, but I can't help with that.",
    "Name two towns": "```json\n['Ghent', 'Bergen']\n```",
}


def speak(request: Received) -> Reply:
    """Answer as each of the two models would."""
    asked = request.asked
    return Reply(text=TASKS[asked.prompt] if asked.model == "cheap" else '["dear", "and right"]')


def ask(port: int, prompt: str) -> tuple[str, str, object]:
    """Ask the gateway for the cascade; returns the step, the model that answered, and its answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    body = {"model": "careful", "messages": [{"role": "user", "content": prompt}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    text = json.loads(answer.read())["choices"][0]["message"]["content"]
    connection.close()
    return answer.headers["x-fairlead-cascade"], answer.headers["x-fairlead-model"], json.loads(text)


async def main() -> None:
    """Ask for each task, and print who answered it."""
    async with FakeProvider(models=("cheap", "dear")) as server:
        server.choose = speak
        running = RunningGateway(loads(CONFIG.format(url=server.url)))
        await running.start()
        for prompt in TASKS:
            step, model, answer = await asyncio.to_thread(ask, running.port, prompt)
            print(f"{prompt:<20}{step:<14}{model:<8}{answer}")
        asked = [request.asked.model for request in server.requests]
        print(f"asked: {asked.count('cheap')} x cheap, {asked.count('dear')} x dear")
        assert asked.count("dear") == 3
        await running.stop()


if __name__ == "__main__":
    asyncio.run(main())
