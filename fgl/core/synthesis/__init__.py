"""From conditionings to images: the plan of what to synthesize, the shards, and filling them."""
