"""What plugins implement and receive: one file for each family, with its data and its protocol side by side.

Plugins, core and the Hub client all import from here; nothing here imports any of them, or a heavy library.
"""
