"""`python -m posttrain`, for launchers: `torchrun --nproc_per_node 2 -m posttrain train ...`."""

from posttrain.cli import main

main()
