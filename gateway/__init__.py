"""An LLM gateway for Azure OpenAI: virtual keys, routing, records, in your own subscription."""
