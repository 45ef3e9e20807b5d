"""The Silent Egress testbed: what leaves an agent, counted where it arrives (Lan et al. 2026, arXiv:2602.22450).

No code or text of the paper is public: the grid, the pages' sentences, the cut of secrets and Leak@k beyond k = 1 are
reconstructed. Everything runs on 127.0.0.1; secrets are canaries, and hosts are `.test` names of our own resolver.
"""
