"""What `fgl plugins new` starts a component from: a file a family, a whole small member in which Mine is replaced.

Read as text and never imported by fgl. A member that would be long is a built-in one with a method of its own, to be
replaced piece by piece.
"""
