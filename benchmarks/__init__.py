"""Time and memory, measured side by side on this machine; nothing here is a test."""
