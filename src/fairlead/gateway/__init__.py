"""The door for HTTP: OpenAI's and Ollama's interfaces in front of a fleet."""

from fairlead.gateway.serving import RunningGateway, serve

__all__ = ["RunningGateway", "serve"]
