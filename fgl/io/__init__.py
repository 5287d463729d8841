"""Files, JSON, YAML and the event log: reading and writing with care, for every other part of fgl."""
