"""The model server: one DeepSeek model behind an OpenAI-compatible HTTP API."""
