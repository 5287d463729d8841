"""What the server does with uploads: accepting, storing and encoding them, and forgetting a client.

Nothing here imports `fgl.core.client`: the two share only `fgl.core.wire`.
"""
