"""What the coordinator and the workers must agree on, and nothing else.

Shared-memory layouts (`layout`), wire messages (`messages`), exit reasons (`exits`), errors
(`errors`). Both sides import this package; it imports nothing of theirs and no third-party
package but msgpack.
"""
