"""The configuration: its schema, how YAML files and `--set` are merged, validation, and the presets."""
