"""What runs at a client, where the images are: preparing uploads, training, evaluation, and the site's policy.

Nothing here imports `fgl.core.server`: the two share only `fgl.core.wire`.
"""
