"""memcourse: measure how language models remember, in weights, activations and retrieval.

The package has one room for each kind of memory; notebooks/ tells the story in order.
Importing it is cheap: torch and transformers are loaded by the rooms that need them.
"""

__version__ = "0.1.0"
