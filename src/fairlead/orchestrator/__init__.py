"""The asyncio shell: reads actions, feeds events."""
