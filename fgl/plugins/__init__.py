"""Built-in plugins. They are registered through the same entry points as third-party plugins."""
