"""Silent Egress: what leaves an agent, judged where it leaves (Lan et al. 2026, arXiv:2602.22450)."""
