"""The engine beside the stock one, measured side by side."""
