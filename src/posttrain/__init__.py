"""posttrain: what people do to a language model after pre-training.

Each method is a small, engine-neutral part. `posttrain.rl` holds the methods that train by reward; the
command line (`posttrain --help`) runs and compares them.
"""

__version__ = "0.1.0"
