"""A memory for other programs: an MCP server over stdio and HTTP, and a small JSON API."""
